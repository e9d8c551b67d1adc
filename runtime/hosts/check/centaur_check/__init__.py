"""Findings in Python workflow files, from their syntax trees alone. Read `file.py` first: it says what is looked for."""
