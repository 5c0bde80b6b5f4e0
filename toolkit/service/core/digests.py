"""Keyed digests that the stores keep in place of codes and secrets, and the msg_ids that are made with the same key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from toolkit.api.defaults import CODE_DIGITS, CODES

_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # RFC 9562, section 4.1


@dataclass(frozen=True, slots=True)
class Digests:
    """Makes the digests that are kept in place of codes and secrets; its key stays outside the database."""

    key: bytes = field(repr=False)
    _keyed: hashlib.blake2b = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyed", hashlib.blake2b(digest_size=32, key=self.key))

    def secret(self, master_secret: str) -> bytes:
        """Digest an app's secret."""
        return self._digest("secret", master_secret)

    def code(self, msg_id: str, code: str) -> bytes:
        """Digest a code in 16 bytes; of another message the same digits have another digest."""
        return self._digest(msg_id, code)[:16]

    def mask(self, msg_id: str, code: str) -> int:
        """Hide a code that is still to be delivered: add to it a pad that is used once."""
        return (int(code) + self._pad(msg_id)) % CODES

    def unmask(self, msg_id: str, masked: int) -> str:
        """Return the code that ``mask`` hid."""
        return f"{(masked - self._pad(msg_id)) % CODES:0{CODE_DIGITS}d}"

    def msg_id(self, app_id: int, seq: int) -> str:
        """Return the msg_id of an app's message by its number: a UUID (RFC 9562, version 4) that tells no one else
        anything, and that nobody else can make. It is drawn from the key, so it needs no place in the store.
        """
        tag = self._tag(app_id, seq)
        return _uuid(seq ^ self._cover(tag), tag)

    def seq(self, app_id: int, msg_id: str) -> int | None:
        """Return the number of an app's message; None where the app never got this msg_id."""
        digits = msg_id.replace("-", "")
        number, tag = digits[:12], digits[12:]
        try:
            covered = int(number, 16)
        except ValueError:
            return None
        seq = covered ^ self._cover(tag)
        return seq if self._tag(app_id, seq) == tag and _uuid(covered, tag) == msg_id else None

    def derive(self, purpose: str) -> str:
        """Derive 24 hex digits that stay the same as long as the key does."""
        return self._digest("derive", purpose).hex()[:24]

    def _pad(self, msg_id: str) -> int:
        return int.from_bytes(self._digest("pad", msg_id)[:16])

    def _tag(self, app_id: int, seq: int) -> str:
        drawn = self._digest("msg_id", f"{app_id}/{seq}").hex()
        return f"4{drawn[1:4]}{_VARIANTS[drawn[4]]}{drawn[5:20]}"

    def _cover(self, tag: str) -> int:
        return int.from_bytes(self._digest("cover", tag)[:6])

    def _digest(self, purpose: str, text: str) -> bytes:
        # Keyed BLAKE2 (RFC 7693) is as sound as HMAC-SHA256; to copy one that has taken in the key saves half its time.
        digest = self._keyed.copy()
        digest.update(f"{purpose}\0{text}".encode("utf-8", "surrogatepass"))
        return digest.digest()


def _uuid(number: int, tag: str) -> str:
    return f"{number >> 16:08x}-{number & 0xFFFF:04x}-{tag[:4]}-{tag[4:8]}-{tag[8:]}"
