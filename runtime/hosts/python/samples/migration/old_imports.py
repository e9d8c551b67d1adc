from api.runtime_control import canonical_json
from api.vm_metrics import workflow_counter

WORKFLOW_NAME = "old_imports"


async def handler(inp, ctx):
    workflow_counter("seen", 2, source="slack")
    return canonical_json(inp)
