"""
Runs tools of Python: loads the folder of one, runs its methods as calls come, or tells what many folders declare and runs nothing.
It keeps nothing that matters: killed at any moment, the next process serves the next call.

`main` wires it up; `asking` tells what tools are, `serving` runs one; `manifest` is from a folder to a tool, `schema` from a
signature to JSON Schema and from arguments to values. The package `centaur_sdk` beside this one is what tools import.
"""
