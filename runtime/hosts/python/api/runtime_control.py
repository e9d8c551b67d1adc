"""Helpers that workflow files took from the first generation's control plane."""

import json
from typing import Any


class ControlPlaneError(Exception):
    """A refusal with a code: `ControlPlaneError("NOT_FOUND", "there is no such thread", 404)`."""

    def __init__(self, code: str = "CONTROL_PLANE_ERROR", message: str = "", status_code: int = 400):
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.status_code = status_code


def canonical_json(value: Any) -> str:
    """The same text for the same value: keys in order, no spaces. What has no JSON becomes its text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def decode_jsonb(value: Any) -> Any:
    """What a `jsonb` column holds, whether the driver gives text or has decoded it."""
    if isinstance(value, (bytes, bytearray)):
        value = value.decode()
    return json.loads(value) if isinstance(value, str) else value
