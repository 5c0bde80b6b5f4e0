"""Apps and templates: who may send, and what. Values only; the stores keep them.

An app's secret is kept as a keyed digest, a balance is counted in messages.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from toolkit.api.defaults import CODE_DIGITS, TTL_S
from toolkit.api.errors import InputError
from toolkit.service.core.policy import MAX_TTL_S, count_segments

DEFAULT_TEXT = "Your verification code is {code}."
MAX_TEXT_CHARS = 1000
SANDBOX_BALANCE = 10**9


@dataclass(frozen=True, slots=True)
class App:
    """An account that calls the API. ``permitted``: has the SMS-code permission."""

    app_id: int
    app_key: str
    secret_digest: bytes = field(repr=False)
    suspended: bool = False
    permitted: bool = True


@dataclass(frozen=True, slots=True)
class Template:
    """A text with a place for the code, and for how many seconds that code is valid.

    ``segments``: how many messages one send of it is charged as.
    """

    temp_id: int
    app_id: int
    text: str
    ttl_s: int = TTL_S
    enabled: bool = True
    segments: int = field(init=False)

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 1 <= self.ttl_s <= MAX_TTL_S:
            raise InputError(f"a template's ttl is 1 to {MAX_TTL_S} seconds, not {self.ttl_s}")
        object.__setattr__(self, "segments", count_segments(self.render("0" * CODE_DIGITS)))

    def render(self, code: str) -> str:
        """Return the message's text."""
        return self.text.replace("{code}", code)


def _check_text(text: str) -> None:
    if text.count("{code}") != 1:
        raise InputError("a template's text holds {code} exactly once")
    if len(text) > MAX_TEXT_CHARS:
        raise InputError(f"a template's text has at most {MAX_TEXT_CHARS} characters, not {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("a template's text is no Unicode: give it in UTF-8") from None


def new_key() -> str:
    """Draw an app key or a master secret: 24 hex digits, as the vendor's are."""
    return secrets.token_hex(12)
