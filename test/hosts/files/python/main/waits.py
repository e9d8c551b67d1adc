import asyncio
import time
from datetime import datetime, timedelta, timezone

from api.workflow_engine import RunCancelledError, WaitTimeoutError
from helpers.choice import choose
from helpers.effects import effect

WORKFLOW_NAME = "waits"


async def sleep(ctx):
    await ctx.sleep("nap", timedelta(seconds=30))
    await ctx.sleep_until("until", datetime(2026, 2, 1, tzinfo=timezone.utc))
    return "awake"


async def event(ctx):
    first = await ctx.wait_for_event("approval", "approved", "order-1")
    return [first, await ctx.wait_for_event("approval", event_type="approved")]


async def timeout(ctx):
    try:
        await ctx.wait_for_event("approval", event_type="never", timeout=timedelta(minutes=1))
    except WaitTimeoutError as error:
        await ctx.step("fallback", lambda: effect(ctx, "fallback"))
        return type(error).__name__
    return "it came"


async def race(ctx):
    event = asyncio.ensure_future(ctx.wait_for_event("event", event_type="never"))
    nap = asyncio.ensure_future(ctx.sleep("nap", timedelta(seconds=5)))
    done, _ = await asyncio.wait([event, nap], return_when=asyncio.FIRST_COMPLETED)
    await ctx.step("after", lambda: effect(ctx, "after"))
    return "the sleep" if nap in done else "the event"


async def two_events(ctx):
    left = asyncio.ensure_future(ctx.wait_for_event("left", event_type="left"))
    right = asyncio.ensure_future(ctx.wait_for_event("right", event_type="right"))
    done, _ = await asyncio.wait([left, right], return_when=asyncio.FIRST_COMPLETED)
    winner = "left" if left in done else "right"
    return await ctx.step("after", lambda: winner)


async def forever(ctx):
    return await ctx.wait_for_event("forever", event_type="never")


async def blocks(ctx):
    """Holds the whole thread, but not for good."""
    time.sleep(6)


async def tidies(ctx):
    try:
        return await ctx.wait_for_event("forever", event_type="never")
    except RunCancelledError as error:
        effect(ctx, f"tidied {type(error).__name__} {error.code}")
        raise


CASES = {
    "sleep": sleep,
    "event": event,
    "timeout": timeout,
    "race": race,
    "two_events": two_events,
    "forever": forever,
    "blocks": blocks,
    "tidies": tidies,
}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
