"""Load the sends of calls that a rate limit decided on, as compact arrays that are sorted by mobile and time.

A send was decided by the rate limits if it was accepted, or refused as out of frequency. Sends that were refused for
another reason stay refused. Sends without a response may have been accepted; they are counted, and left out.

The sends are read once, in batches, and divided into parts by mobile, so that sorting and replaying need little
memory: 31 bytes a send, and the temporary arrays of one part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.analysis.abuse.code_guessing import guessers
from toolkit.analysis.abuse.sms_pumping import suspects
from toolkit.analysis.calls_table import (
    IS_FREE,
    IS_SEND,
    IS_SUCCESS,
    IS_VERIFY,
    IntoCalls,
    LazyTable,
    collect,
    lazy_messages,
)
from toolkit.analysis.native_ops import mark_contained
from toolkit.analysis.other_rules.replay import Bools, Ints, SortedSends
from toolkit.analysis.timestamps import NS_PER_MS
from toolkit.api.return_codes import ReturnCode
from toolkit.time_zone import UTC, parse_timezone

WAS_SENT, IS_VERIFIED, HAS_MOBILE, IS_PUMPING, IS_GUESSING = 1, 2, 4, 8, 16  # bits of ``flags``
_BATCH, _PART = 1_000_000, 4_000_000  # sends
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: spreads keys of any pattern evenly
_TEXTS = ("app_key", "prefix", "temp_id")
_DTYPES = {
    "key": np.int64,
    "started_ns": np.int64,
    "app_key": np.int32,
    "prefix": np.int32,
    "temp_id": np.int32,
    "segments": np.int16,
    "flags": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Part:
    """The sends to some of the mobiles, sorted by mobile and time; one array element for each send.

    Attributes:
        is_first: whether it is the first send to a mobile of an app.
        started_ns: its start, since 1970.
        codes: the indexes of its app_key, prefix and temp_id in ``RecordedSends.values``.
        segments: the billed segments; 0 if unknown.
        flags: the sum of WAS_SENT, IS_VERIFIED, HAS_MOBILE, IS_PUMPING and IS_GUESSING.
    """

    is_first: Bools
    started_ns: Ints
    codes: dict[str, NDArray[Any]]
    segments: NDArray[np.int16]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.flags)

    def has(self, flag: int) -> Bools:
        """Return whether each send has a flag."""
        marked: Bools = (self.flags & flag) != 0
        return marked

    def sorted_sends(self, chosen: Bools) -> SortedSends:
        """Return chosen sends for a replay; of a mobile, all or none are chosen."""
        return SortedSends(
            self.is_first[chosen],
            self.started_ns[chosen] // NS_PER_MS,
            self.has(WAS_SENT)[chosen],
            self.has(IS_VERIFIED)[chosen],
        )


@dataclass(frozen=True)
class RecordedSends:
    """The sends of calls, loaded for ``what_if``. ``recorded_sends`` creates it.

    Attributes:
        parts: the sends.
        values: the values of app_key, prefix and temp_id by index, including None.
        timezone: of the prices' first days.
        unknown: sends without a response, or with one that doesn't show whether the message was sent.
        has_mobiles, has_prefixes: whether any send has a mobile key, and a prefix.
        has_success: whether the calls show which message was verified.
        has_abuse: whether suspects and guessers were looked for.
    """

    parts: tuple[Part, ...]
    values: dict[str, list[Any]]
    timezone: str
    unknown: int
    has_mobiles: bool
    has_prefixes: bool
    has_success: bool
    has_abuse: bool

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __repr__(self) -> str:
        return f"<{len(self):,} sends that were accepted, or refused for frequency>"

    @cached_property
    def without_mobile(self) -> int:
        """The number of sends without a mobile key, on which no rule can decide."""
        return sum(len(part) - int(part.has(HAS_MOBILE).sum()) for part in self.parts)

    @cached_property
    def without_prefix(self) -> int:
        """The number of sends without a prefix, which a block list can't refuse."""
        return sum(int((~self.has_prefix(part)).sum()) for part in self.parts)

    def has_prefix(self, part: Part) -> Bools:
        """Return whether each send of a part has a prefix."""
        known = np.array([it is not None for it in self.values["prefix"]] or [False])
        found: Bools = known[part.codes["prefix"]]
        return found


def recorded_sends(calls: IntoCalls, timezone: str = UTC, find_abuse: bool = True) -> RecordedSends:
    """Load the sends of calls for ``what_if`` and ``what_if_sweep``, which accept calls too but load them each time.

    Args:
        calls: Calls with ``return_code``. Rules need ``mobile_key``, verified users ``msg_key``.
        timezone: The time zone of the prices' first days.
        find_abuse: Whether the prefixes of ``suspects`` and the mobiles of ``guessers`` are marked, which takes longer
            than the rest.

    >>> sends = recorded_sends(read("simulated"))  # doctest: +SKIP
    """
    parse_timezone(timezone)
    table = lazy_messages(calls, "return_code")
    known = _known(table)
    has_success = bool(known["verifies"] and known["messages"])
    flags = _flags_of_abuse(calls) if find_abuse and has_success and known["mobiles"] else None
    loader = _Loader(1 << (int(known["sends"]) // _PART).bit_length())
    for batch in _batches(table):
        loader.add(batch)
    return RecordedSends(
        tuple(loader.parts(flags)),
        loader.values,
        timezone,
        int(known["unknown"]),
        bool(known["mobiles"]),
        bool(known["prefixes"]),
        has_success,
        flags is not None,
    )


def _known(table: LazyTable) -> dict[str, Any]:
    """Count the sends to load, those of unknown outcome, and the values without which figures are unknown."""
    is_decided = _is_decided()

    def count(condition: nw.Expr) -> nw.Expr:
        return nw.when(condition.fill_null(False)).then(nw.lit(1, nw.Int64)).otherwise(nw.lit(0, nw.Int64)).sum()

    has_message = ~nw.col("msg_key").is_null()
    sums = {
        "sends": count(IS_SEND & is_decided),
        "unknown": count(IS_SEND & ~IS_SUCCESS.fill_null(False) & ~IS_FREE),
        "mobiles": count(IS_SEND & is_decided & ~nw.col("mobile_key").is_null()),
        "prefixes": count(IS_SEND & is_decided & ~nw.col("prefix").is_null()),
        "messages": count(IS_SEND & IS_SUCCESS & has_message),
        "verifies": count(IS_VERIFY & has_message),
    }
    return {str(name): 0 if pd.isna(it) else it for name, it in collect(table.select(**sums)).iloc[0].items()}


def _is_decided() -> nw.Expr:
    return nw.col("return_code").is_in([int(ReturnCode.SUCCESS), int(ReturnCode.OUT_OF_FREQ)])


def _batches(table: LazyTable) -> Iterator[pa.RecordBatch]:
    """Yield the sends in batches, with ``is_verified``."""
    verified = table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null()).select("msg_key")
    columns = ["mobile_key", "started_ns", "app_key", "prefix", "temp_id", "segments", "return_code", "msg_key"]
    sends = mark_contained(table.filter(IS_SEND, _is_decided()).select(columns), "msg_key", verified, "is_verified")
    native: Any = sends.drop("msg_key").to_native()
    if sends.implementation.is_duckdb():
        yield from native.to_arrow_reader(_BATCH)
    else:
        yield from sends.drop("msg_key").collect("pyarrow").to_native().to_batches(_BATCH)


def _flags_of_abuse(calls: IntoCalls) -> tuple[set[str], Ints]:
    """Return the flagged prefixes, and the keys of the flagged mobiles."""
    guessed = guessers(calls)
    keys = guessed.loc[guessed["flagged"], "mobile_key"].to_numpy(np.int64)
    return set(suspects(calls)["prefix"].astype(str)), keys


@dataclass
class _Codes:
    """Numbers the values of a column in the order in which they come."""

    values: list[Any] = field(default_factory=list)
    numbers: dict[Any, int] = field(default_factory=dict)

    def encode(self, column: pa.Array) -> NDArray[np.int64]:
        """Return the number of each value."""
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        local = np.array([self._number(it) for it in (*encoded.dictionary.to_pylist(), None)], np.int64)
        indexes: NDArray[np.int64] = encoded.indices.fill_null(len(local) - 1).to_numpy(zero_copy_only=False)
        return local[indexes]

    def _number(self, value: Any) -> int:
        if value not in self.numbers:
            self.numbers[value] = len(self.values)
            self.values.append(value)
        return self.numbers[value]


class _Loader:
    """Divides batches of sends into parts by mobile, and sorts the parts."""

    def __init__(self, number: int) -> None:
        self._bits = number.bit_length() - 1
        self._chunks: list[list[dict[str, NDArray[Any]]]] = [[] for _ in range(number)]
        self._codes = {name: _Codes() for name in _TEXTS}

    @property
    def values(self) -> dict[str, list[Any]]:
        return {name: codes.values for name, codes in self._codes.items()}

    def add(self, batch: pa.RecordBatch) -> None:
        """Add a batch."""
        if not batch.num_rows:
            return
        columns = {name: batch.column(name) for name in batch.schema.names}
        mobile = columns["mobile_key"].fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        codes = {name: self._codes[name].encode(columns[name]) for name in _TEXTS}
        spread = (codes["app_key"].astype(np.uint64) + np.uint64(1)) * np.uint64(_MULTIPLIER)
        key = (mobile.view(np.uint64) ^ spread) * np.uint64(_MULTIPLIER)
        flags = np.uint8(WAS_SENT) * (columns["return_code"].to_numpy() == int(ReturnCode.SUCCESS))
        flags |= np.uint8(IS_VERIFIED) * columns["is_verified"].to_numpy(zero_copy_only=False).astype(np.bool_)
        flags |= np.uint8(HAS_MOBILE) * columns["mobile_key"].is_valid().to_numpy(zero_copy_only=False)
        arrays = {
            "key": key.view(np.int64),
            "mobile": mobile,
            "started_ns": columns["started_ns"].to_numpy(),
            **codes,
            "segments": columns["segments"].fill_null(0).to_numpy(zero_copy_only=False),
            "flags": flags,
        }
        chunk = {name: arrays[name].astype(dtype) for name, dtype in _DTYPES.items()}
        if not self._bits:
            self._chunks[0].append(chunk)
            return
        part = (key >> np.uint64(64 - self._bits)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        ends = np.bincount(part, minlength=len(self._chunks)).cumsum()
        for number, rows in enumerate(np.split(order, ends[:-1])):
            self._chunks[number].append({name: array[rows] for name, array in chunk.items()})

    def parts(self, flags: tuple[set[str], Ints] | None) -> Iterator[Part]:
        """Yield the sorted parts, with the marks of abuse."""
        prefixes, mobiles = flags or (set(), np.zeros(0, np.int64))
        is_pumped = np.array([it in prefixes for it in self.values["prefix"]] or [False])
        apps = (np.arange(len(self.values["app_key"]), dtype=np.uint64) + np.uint64(1)) * np.uint64(_MULTIPLIER)
        guessed = ((mobiles.view(np.uint64)[:, None] ^ apps) * np.uint64(_MULTIPLIER)).ravel().view(np.int64)
        for chunks in self._chunks:
            columns = {
                name: np.concatenate([chunk.pop(name) for chunk in chunks] or [np.zeros(0, dtype)])
                for name, dtype in _DTYPES.items()
            }
            key = columns.pop("key")
            order = np.lexsort((columns["started_ns"], key))
            key = key[order]
            for name in columns:
                columns[name] = columns[name][order]
            is_first = np.ones(len(key), np.bool_)
            is_first[1:] = key[1:] != key[:-1]
            marked = columns["flags"]
            if len(prefixes):
                marked |= np.uint8(IS_PUMPING) * is_pumped[columns["prefix"]]
            if len(guessed):
                marked |= np.uint8(IS_GUESSING) * np.isin(key, guessed)
            yield Part(
                is_first,
                columns["started_ns"],
                {name: columns[name] for name in _TEXTS},
                columns["segments"],
                marked,
            )
