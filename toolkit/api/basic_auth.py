"""Encode and decode the API's credentials: HTTP Basic with an app key and a master secret."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from toolkit.api.errors import InputError


@dataclass(frozen=True, slots=True)
class Credentials:
    """An app's key and master secret."""

    app_key: str
    master_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.app_key or not self.app_key:
            raise InputError("invalid app key: expected text without a colon, e.g. 7b528333738ec719165798fd")

    @property
    def authorization(self) -> str:
        """The value of the Authorization header."""
        token = base64.b64encode(f"{self.app_key}:{self.master_secret}".encode("utf-8", "surrogateescape"))
        return "Basic " + token.decode("ascii")


def decode_authorization(value: bytes) -> Credentials | None:
    """Decode the value of an Authorization header; return None if it isn't Basic with a key and a secret.

    >>> decode_authorization(b"Basic a2V5OnNlY3JldA==").app_key
    'key'
    """
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        app_key, colon, secret = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Credentials(app_key, secret) if colon and app_key else None
