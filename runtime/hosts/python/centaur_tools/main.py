"""Starts the host: the messages' files first, so that nothing else can write to them."""

import os

from centaur_host.transport import open_files


def main():
    reader, writer = open_files()
    root = os.path.abspath(os.environ.get("TOOL_ROOT") or ".")
    file = os.environ.get("TOOL_FILE")
    # each brings what it alone needs: a process that is only asked starts without an event loop
    if file:
        from .serving import serve

        serve(reader, writer, root, file)
    else:
        from .asking import answer_questions

        answer_questions(reader, writer, root)
