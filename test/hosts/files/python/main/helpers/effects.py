import sys


def effect(ctx, name):
    """Says on standard error that something was done, where a test can count it."""
    print(f"effect {ctx.run_id} {name}", file=sys.stderr, flush=True)
