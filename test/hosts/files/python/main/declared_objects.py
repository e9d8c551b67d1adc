"""Webhooks as objects, the way the guide writes them."""

from api.webhooks import BearerAuth, HeaderTriggerKey, HmacAuth, WebhookSpec

WORKFLOW_NAME = "declared_objects"
WEBHOOKS = [
    WebhookSpec(
        slug="objects-1",
        provider="github",
        auth=HmacAuth.github(secret_ref="GITHUB_WEBHOOK_SECRET"),
        trigger_key=HeaderTriggerKey("X-GitHub-Delivery"),
        allowed_methods=["POST"],
        allowed_content_types=["application/json"],
    ),
    WebhookSpec(slug="objects-2", auth=BearerAuth(secret_ref="TOKEN")),
]


async def handler(inp, ctx):
    return None
