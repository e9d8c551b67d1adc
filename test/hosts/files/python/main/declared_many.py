"""Several of what there can be several of."""

WORKFLOW_NAME = "declared_many"
SCHEDULE = [{"type": "interval", "seconds": 300}, {"type": "cron", "cron": "0 * * * *"}]
WEBHOOKS = (
    {"slug": "many-1", "auth": "none"},
    {"slug": "many-2", "auth": {"type": "hmac", "secret_ref": "SECRET"}, "trigger_key": {"type": "header", "header": "X-Id"}},
)


async def handler(inp, ctx):
    return None
