"""Define apps, which call the API, and their templates, the texts that they may send."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from toolkit.api.defaults import CODE_DIGITS, TTL_S
from toolkit.api.errors import InputError
from toolkit.service.core.policy import MAX_TTL_S
from toolkit.service.core.sms_segments import count_segments

DEFAULT_TEXT = "Your verification code is {code}."
MAX_TEXT_CHARS = 1000
SANDBOX_BALANCE = 10**9


@dataclass(frozen=True, slots=True)
class App:
    """An account that calls the API.

    Attributes:
        permitted: its SMS-code permission.
        old_digest: that of the secret before the last rotation, which is valid until ``old_until_ms``.
    """

    app_id: int
    app_key: str
    secret_digest: bytes = field(repr=False)
    suspended: bool = False
    permitted: bool = True
    old_digest: bytes = field(default=b"", repr=False)
    old_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class Template:
    """A text with the placeholder ``{code}``, and the lifetime of its codes in seconds.

    ``segments`` is the number of messages that one send is charged as.

    Raises:
        InputError: if the text or the lifetime is not valid.
    """

    temp_id: int
    app_id: int
    text: str
    ttl_s: int = TTL_S
    enabled: bool = True
    segments: int = field(init=False)

    def __post_init__(self) -> None:
        if self.text.count("{code}") != 1:
            raise InputError("invalid text: expected {code} exactly once, e.g. 'Your code is {code}.'")
        if len(self.text) > MAX_TEXT_CHARS:
            raise InputError(f"invalid text of {len(self.text)} characters: expected at most {MAX_TEXT_CHARS}")
        try:
            self.text.encode()
        except UnicodeEncodeError:
            raise InputError("invalid text: expected valid Unicode; pass it as UTF-8") from None
        if not 1 <= self.ttl_s <= MAX_TTL_S:
            raise InputError(f"invalid ttl_s {self.ttl_s}: expected 1 to {MAX_TTL_S} seconds, e.g. 300")
        object.__setattr__(self, "segments", count_segments(self.render("0" * CODE_DIGITS)))

    def render(self, code: str) -> str:
        """Return the text of a message with a code."""
        return self.text.replace("{code}", code)


def new_key() -> str:
    """Return a random app key or master secret: 24 hex digits, as the vendor's are."""
    return secrets.token_hex(12)
