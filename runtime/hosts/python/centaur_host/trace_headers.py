"""Requests of code that runs here say to which call or run they belong, without its author doing anything.

The headers are those of W3C Trace Context, and for the firewall: it checks them, and takes them out again before a request goes to anybody
else. Whatever is built on `http.client` sends them: `urllib`, `requests`, `urllib3`, `boto3`. What is not, such as `httpx`, does not.
"""

import importlib.abc
import importlib.util
import sys
from contextvars import ContextVar

CURRENT = ContextVar("centaur_trace", default=())
MODULE = "http.client"


def enter(given):
    """For whatever the current task or thread does from here on. `given` is a message of the worker, which may be of another release."""
    traceparent, tracestate = given.get("traceparent"), given.get("tracestate")
    if isinstance(traceparent, str) and isinstance(tracestate, str):
        CURRENT.set((("traceparent", traceparent), ("tracestate", tracestate)))


def install():
    """Now, or when the module is imported: most code never needs it."""
    if MODULE in sys.modules:
        patch(sys.modules[MODULE])
    else:
        sys.meta_path.insert(0, Finder())


def patch(module):
    connection = module.HTTPConnection
    put, end = connection.putheader, connection.endheaders

    def putheader(self, header, *values):
        name = header.decode("latin-1") if isinstance(header, bytes) else str(header)
        if name.lower() == "traceparent":
            self._centaur_traced = True
        return put(self, header, *values)

    def endheaders(self, *args, **kwargs):
        if not self.__dict__.pop("_centaur_traced", False):
            for name, value in CURRENT.get():
                put(self, name, value)
        return end(self, *args, **kwargs)

    connection.putheader, connection.endheaders = putheader, endheaders


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec
