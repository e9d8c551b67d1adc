"""
Runs workflow files of Python for the worker: finds and loads them, checks inputs, runs handlers, and turns what they
call on `ctx` into messages. It keeps nothing that matters: killed at any moment, its runs go on in another host.

`main` wires it up; `transport` and `wire` are lines and JSON; `files`, `loading`, `registry`, `metadata` and `discovery`
are the workflow files; `coerce` is inputs; `runs`, `steps` and `context` are a run. The package `api` beside this one is
what workflow files import.
"""
