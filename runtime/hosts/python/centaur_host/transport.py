"""
Lines in, lines out: standard input and output, or a Unix socket.

Standard output is for messages alone: what a workflow prints goes to standard error, and reading its input gives nothing.
"""

import os
import stat
import sys

from .wire import LINE_MOST

CHUNK = 256 * 1024


def open_files():
    """File descriptors to read from and to write to; after it, nothing else in this process reaches them."""
    path = os.environ.get("CENTAUR_HOST_SOCKET")
    if path:
        import socket

        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)
        reader = writer = connection.detach()
    else:
        reader, writer = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)
    return reader, writer


class Transport:
    """Reads and writes as the loop has time for it; `on_lines` gets all lines of a read, `on_end` the end of the input."""

    def __init__(self, loop, reader, writer, on_lines, on_end):
        self.loop = loop
        self.reader = reader
        self.writer = writer
        self.on_lines = on_lines
        self.on_end = on_end
        self.partial = []
        self.partial_size = 0
        self.unsent = b""
        self.ended = False
        if waits(writer):
            os.set_blocking(writer, False)
        if waits(reader):
            loop.add_reader(reader, self._readable)
        else:
            loop.call_soon(self._read_file)

    def _read_file(self):
        while not self.ended:
            self._readable()

    def _readable(self):
        try:
            chunk = os.read(self.reader, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._end()
            return
        end = chunk.rfind(b"\n")
        if end < 0:
            self._keep(chunk)
            return
        lines = chunk[:end]
        if self.partial:
            lines = b"".join(self.partial) + lines
            self.partial.clear()
            self.partial_size = 0
        if end + 1 < len(chunk):
            self._keep(chunk[end + 1 :])
        self.on_lines(lines.split(b"\n"))

    def _keep(self, part):
        self.partial.append(part)
        self.partial_size += len(part)
        if self.partial_size > LINE_MOST:
            self.partial.clear()
            print(f"a line of more than {LINE_MOST} bytes came in", file=sys.stderr)
            self._end()

    def _end(self):
        self.ended = True
        if waits(self.reader):
            self.loop.remove_reader(self.reader)
        if self.partial:
            self.on_lines([b"".join(self.partial)])
            self.partial.clear()
        self.on_end()

    def write(self, data):
        if self.unsent:
            self.unsent += data
            return
        sent = self._send(data)
        if sent < len(data):
            self.unsent = data[sent:]
            self.loop.add_writer(self.writer, self._writable)

    def _writable(self):
        self.unsent = self.unsent[self._send(self.unsent) :]
        if not self.unsent:
            self.loop.remove_writer(self.writer)

    def _send(self, data):
        try:
            return os.write(self.writer, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            # nobody reads any more: the end of the input is on its way
            return len(data)

    def flush(self):
        """Writes what is left, waiting for the reader."""
        if self.unsent:
            os.set_blocking(self.writer, True)
            while self.unsent:
                self.unsent = self.unsent[self._send(self.unsent) :]


def waits(fd):
    """Whether reading or writing may have to wait: not so with a file, which the loop could not watch either."""
    mode = os.fstat(fd).st_mode
    return not stat.S_ISREG(mode) and not (stat.S_ISCHR(mode) and not os.isatty(fd))
