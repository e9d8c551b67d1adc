"""Everything a file can declare, once."""

WORKFLOW_NAME = "declared_one"
WORKFLOW_PRINCIPAL = True
AGENT_DEFAULTS = {"harness": "codex"}
QUEUE = "etl"
RETRY = {"maxAttempts": 3}
SCHEDULE = {"type": "cron", "cron": "0 9 * * 1-5", "timezone": "America/New_York", "input": {"profile": "default"}}
WEBHOOKS = [
    {
        "slug": "one",
        "provider": "github",
        "auth": {"type": "github_hmac", "secret_ref": "GITHUB_WEBHOOK_SECRET"},
        "trigger_key": {"type": "header", "name": "X-GitHub-Delivery"},
    }
]


async def handler(inp, ctx):
    return None
