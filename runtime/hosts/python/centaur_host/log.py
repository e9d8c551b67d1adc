"""`ctx.log("message", key=value)` and `ctx.log.info(...)`: written once, silent while a run replays."""


class Done:
    """What a notification gives back: there is nothing to wait for, but it may be awaited."""

    def __await__(self):
        return iter(())


DONE = Done()


class Log:
    def __init__(self, run):
        self._run = run

    def __call__(self, message, *args, level="info", **fields):
        self._run.log(level, formatted(message, args), fields)
        return DONE

    def debug(self, message, *args, **fields):
        return self(message, *args, **{**fields, "level": "debug"})

    def info(self, message, *args, **fields):
        return self(message, *args, **{**fields, "level": "info"})

    def warning(self, message, *args, **fields):
        return self(message, *args, **{**fields, "level": "warn"})

    warn = warning

    def error(self, message, *args, **fields):
        return self(message, *args, **{**fields, "level": "error"})

    exception = error


def formatted(message, args):
    """As the standard library's loggers do; a log never fails."""
    try:
        return message % args if args else message
    except (TypeError, ValueError):
        return " ".join(map(str, (message, *args)))
