"""Starts the host: the messages' files first, so that nothing else can write to them."""

import asyncio
import gc
import sys

from . import trace_headers
from .host import Host, end_when_blocked, quiet
from .registry import Registry
from .transport import Transport, open_files, waits


def main():
    reader, writer = open_files()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(quiet)
    trace_headers.install()
    host = Host(loop, Registry())
    host.transport = Transport(loop, reader, writer, host.lines, host.end)
    if waits(reader):
        end_when_blocked(reader, lambda: host.loading)
    # what is here by now stays: the collector need not look at it again
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # raised in a task of a handler, it would end the runs of all others
            print(f"{type(error).__name__} in a workflow's task is ignored", file=sys.stderr)
