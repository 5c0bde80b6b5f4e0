"""Pack the data of an accepted send that verifying and the rate limits need, in memory as in its row.

A store loads a million of these records at start, so they are copied and read in bulk, not one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

_MOBILES = 10**11
_RECORD = struct.Struct("<QQIIHB?")  # the fields of Record
_TIMES = struct.Struct("<QQ4xI4x")  # key, expires_ms and ttl_ms alone
SIZE = _RECORD.size
pack_fields = _RECORD.pack  # the fields of a Record, without making one
VERIFIED_AT = SIZE - 1


def window_key(app_id: int, mobile: int) -> int:
    """Return the number that stands for an app's mobile in the rate windows."""
    return app_id * _MOBILES + mobile


def app_of(key: int) -> int:
    """Return the app of a ``window_key``."""
    return key // _MOBILES


class Record(NamedTuple):
    """An accepted send.

    ``key`` is the ``window_key``, ``masked`` the code as ``digests.mask`` encrypts it, and ``forced`` 0 for none.

    >>> Record(window_key(1, 13800138000), 300_000, 654_321, 300_000, 0, 0, False).mobile
    13800138000
    """

    key: int
    expires_ms: int
    masked: int
    ttl_ms: int
    forced: int
    tries: int
    verified: bool

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read a packed record."""
        return cls._make(_RECORD.unpack(packed))

    def pack(self) -> bytes:
        """Return the record in ``SIZE`` bytes."""
        return _RECORD.pack(*self)

    @property
    def app_id(self) -> int:
        """The app that sent the message."""
        return app_of(self.key)

    @property
    def mobile(self) -> int:
        """The mobile that the message was sent to."""
        return self.key % _MOBILES

    @property
    def sent_ms(self) -> int:
        """The time of the send."""
        return self.expires_ms - self.ttl_ms


def times_of(packed: bytes) -> Iterator[tuple[int, int, int]]:
    """Return the (key, expires_ms, ttl_ms) of consecutive packed records."""
    return _TIMES.iter_unpack(packed)
