"""Make the keyed digests that a store keeps in place of secrets, encrypt codes, and make the msg_ids.

The key lies in a file outside the database, so that a copy of the database alone reveals no code and no secret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from toolkit.api.defaults import CODE_DIGITS, CODES

NO_CODE = CODES  # equals no encrypted code

_PURPOSES = ("secret", "pad", "msg_id", "cover", "derive")
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # RFC 9562, section 4.1


@dataclass(frozen=True, slots=True)
class Digests:
    """Makes digests with one key. Each purpose gives different digests, so that one cannot be used for another."""

    key: bytes = field(repr=False)
    _by_purpose: dict[str, hashlib.blake2b] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Keyed BLAKE2 (RFC 7693) is as secure as HMAC-SHA256. Copying an object that has read the key halves the time.
        for purpose in _PURPOSES:
            self._by_purpose[purpose] = hashlib.blake2b(f"{purpose}\0".encode(), digest_size=32, key=self.key)

    def secret(self, master_secret: str) -> bytes:
        """Return the digest of an app's secret."""
        return self._digest("secret", master_secret)

    def mask_code(self, msg_id: str, code: str) -> int:
        """Encrypt a code with a one-time pad made from a msg_id that is given out once."""
        return mask(code, self._pad(msg_id))

    def mask_typed(self, msg_id: str, typed: str) -> int:
        """Encrypt a typed code as ``mask_code`` does; NO_CODE if the text can't be a code."""
        return mask_typed(typed, self._pad(msg_id))

    def unmask_code(self, msg_id: str, masked: int) -> str:
        """Decrypt a code that ``mask_code`` encrypted."""
        return unmask(masked, self._pad(msg_id))

    def make_msg_id(self, app_id: int, seq: int, epoch: str) -> tuple[str, int]:
        """Return the msg_id of an app's message from its number, and the one-time pad of the message's code.

        The msg_id is a version 4 UUID (RFC 9562). Only the key's owner can make it or read the number in it. So the
        store need not keep it, and a msg_id that was never given out is recognised without a look-up. ``epoch`` is
        random and differs each time that the store is opened: a number that is used again, for example after a backup
        was restored, gives another msg_id and another pad.
        """
        tag, pad = self._tag_and_pad(app_id, seq, epoch)
        return _uuid(seq ^ self._cover(tag), tag), pad

    def parse_msg_id(self, app_id: int, msg_id: str, epoch_of: Callable[[int], str]) -> tuple[int, int] | None:
        """Return the number in a msg_id and the pad of its code; None if the app never got this msg_id.

        ``epoch_of`` finds a number's epoch.
        """
        try:
            covered = int(msg_id[:8] + msg_id[9:13], 16)
            seq = covered ^ self._cover(msg_id[14:])
        except ValueError:
            return None
        tag, pad = self._tag_and_pad(app_id, seq, epoch_of(seq))
        return (seq, pad) if _uuid(covered, tag) == msg_id else None

    def derive(self, purpose: str) -> str:
        """Return 24 hex digits that depend on the key and the purpose alone."""
        return self._digest("derive", purpose).hex()[:24]

    @property
    def sandbox_app_key(self) -> str:
        """The app key of a sandbox's ready-made app."""
        return self.derive("sandbox app key")

    @property
    def sandbox_secret(self) -> str:
        """The master secret of a sandbox's ready-made app."""
        return self.derive("sandbox master secret")

    def _pad(self, msg_id: str) -> int:
        return int.from_bytes(self._digest("pad", msg_id)[:16])

    def _tag_and_pad(self, app_id: int, seq: int, epoch: str) -> tuple[str, int]:
        digest = self._by_purpose["msg_id"].copy()
        digest.update(f"{epoch}/{app_id}/{seq}".encode())
        drawn = digest.digest()
        digits = drawn[:10].hex()
        return f"4{digits[:3]}-{_VARIANTS[digits[3]]}{digits[4:7]}-{digits[7:19]}", int.from_bytes(drawn[16:])

    def _cover(self, tag: str) -> int:
        digest = self._by_purpose["cover"].copy()
        digest.update(tag.encode())
        return int.from_bytes(digest.digest()[:6])

    def _digest(self, purpose: str, text: str) -> bytes:
        digest = self._by_purpose[purpose].copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()


def _uuid(number: int, tag: str) -> str:
    digits = f"{number:012x}"
    return f"{digits[:8]}-{digits[8:]}-{tag}"


def draw_msg_ids() -> Iterator[str]:
    """Yield random version 4 UUIDs (RFC 9562). Drawing many at once takes a third of the time of ``uuid.uuid4``.

    >>> len(next(draw_msg_ids()))
    36
    """
    while True:
        digits = os.urandom(1024).hex()
        for drawn in (digits[start : start + 32] for start in range(0, len(digits), 32)):
            tag = f"4{drawn[13:16]}-{_VARIANTS[drawn[16]]}{drawn[17:20]}-{drawn[20:]}"
            yield f"{drawn[:8]}-{drawn[8:12]}-{tag}"


def mask(code: str, pad: int) -> int:
    """Encrypt a code with a pad that is used for no other code."""
    return (int(code) + pad) % CODES


def mask_typed(typed: str, pad: int) -> int:
    """Encrypt a typed code, to compare it with one that ``mask`` encrypted; NO_CODE if the text can't be a code.

    >>> mask_typed("123456", 7) == mask("123456", 7), mask_typed("0123456", 7) == NO_CODE
    (True, True)
    """
    is_code = len(typed) == CODE_DIGITS and typed.isascii() and typed.isdigit()
    return mask(typed, pad) if is_code else NO_CODE


def unmask(masked: int, pad: int) -> str:
    """Decrypt a code that ``mask`` encrypted."""
    return f"{(masked - pad) % CODES:0{CODE_DIGITS}d}"
