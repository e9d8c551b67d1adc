"""
Webhooks as objects. They only carry what they are given into plain JSON: the worker judges it, and refuses an `auth` that
it does not understand.
"""

from dataclasses import dataclass, fields
from typing import Any


def declaration(of: Any, kind: str | None = None) -> dict[str, Any]:
    told = {each.name: getattr(of, each.name) for each in fields(of) if each.repr}
    told = {key: value for key, value in told.items() if value is not None}
    return told if kind is None else {"type": kind, **told}


@dataclass(frozen=True)
class HmacAuth:
    """A signature of the raw body."""

    secret_ref: str
    signature_header: str | None = None
    algorithm: str | None = None
    signature_prefix: str | None = None
    encoding: str | None = None
    timestamp_header: str | None = None
    tolerance_seconds: int | None = None

    @classmethod
    def github(cls, secret_ref: str) -> "HmacAuth":
        return GitHubAuth(secret_ref)

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self, "hmac")


class GitHubAuth(HmacAuth):
    """As GitHub signs: `X-Hub-Signature-256`."""

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self, "github")


@dataclass(frozen=True)
class BearerAuth:
    """A shared text in a header."""

    secret_ref: str
    header: str | None = None
    scheme: str | None = None

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self, "bearer")


@dataclass(frozen=True)
class HeaderTriggerKey:
    """Two deliveries with the same value of this header are one."""

    header: str

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self, "header")


@dataclass(frozen=True)
class StaticTriggerKey:
    value: str

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self, "static")


@dataclass(frozen=True)
class WebhookSpec:
    """A route at `/api/webhooks/{slug}`. `auth="none"` must be said: a spec without `auth` is refused."""

    slug: str
    provider: str | None = None
    auth: Any = None
    trigger_key: Any = None
    allowed_methods: Any = None
    allowed_content_types: Any = None
    max_body_bytes: int | None = None
    rate_limit: Any = None
    filter: Any = None
    enabled: bool | None = None

    def to_declaration(self) -> dict[str, Any]:
        return declaration(self)
