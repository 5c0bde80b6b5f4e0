"""Attempts: the sends to each mobile of each app in the order of time, accepted or out of frequency.

Bounds are safe ones: the service decided at some time between a call's start and its end, and the clocks of two hosts
may be apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from toolkit.analysis.calls_table import IS_SEND, IS_SUCCESS, LazyTable, collect, distinct_rows
from toolkit.analysis.timestamps import NS_PER_S
from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

NS_PER_MS = 1_000_000
_DAY_NS = 86_400 * NS_PER_S
_ACCEPTED, _LOST, _REFUSED, _OTHER = range(4)
_LOSSES = [Failure.TIMEOUT, Failure.RESET, Failure.PROTOCOL, Failure.CANCELLED]
_COLUMNS = ["app_key", "mobile_key", "started_ns", "latency_ns", "state"]
_OF_REFUSED = 0.8  # of a sample: sends to mobiles that were refused one
_HEAVIEST_ROW = 30
_SPREAD, _MODULUS = 48_271, 1_000_003  # a prime, so that keys of any pattern are spread


@dataclass(frozen=True, slots=True)
class Accepted:
    """Accepted sends by mobile and time.

    mobile, app: their numbers. rank: how many to the same mobile were accepted before.
    """

    start_ns: Ints
    end_ns: Ints
    mobile: Ints
    app: Ints
    rank: Ints

    def __len__(self) -> int:
        return len(self.start_ns)


@dataclass(frozen=True, slots=True)
class Refused:
    """Refusals by mobile and time, with what accepted sends have.

    before: how many sends were accepted before, of all mobiles, which is the place of the next one. is_after_loss:
    whether a send came in the day before whose answer was lost: it may have been accepted. rows: of refusals between
    which nothing was accepted, and which say the same again and again, they are 1 together; weight: up to 30.
    """

    start_ns: Ints
    end_ns: Ints
    mobile: Ints
    app: Ints
    rank: Ints
    before: Ints
    is_after_loss: Bools
    rows: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.start_ns)


_Sends = TypeVar("_Sends", Accepted, Refused)


@dataclass(frozen=True, slots=True)
class Attempts:
    """Sends to mobiles. apps: their names; ratio: of mobiles that were refused a send, how many are here, 0..1."""

    accepted: Accepted
    refused: Refused
    apps: list[str]
    ratio: float
    skew_ns: int

    @property
    def first_ns(self) -> int:
        """When the first one started; 0 without any."""
        starts = np.concatenate([self.accepted.start_ns, self.refused.start_ns])
        return int(starts.min()) if len(starts) else 0

    @property
    def last_ns(self) -> int:
        """When the last one started; 0 without any."""
        return max(int(it.start_ns.max(initial=0)) for it in (self.accepted, self.refused))

    @property
    def mobiles(self) -> int:
        """How many mobiles there are, or were before some were chosen."""
        return 1 + max(int(it.mobile.max(initial=-1)) for it in (self.accepted, self.refused))

    def of(self, mobiles: Bools) -> Attempts:
        """Return those to some of the mobiles, chosen by their numbers."""
        kept, refused = mobiles[self.accepted.mobile], _of(self.refused, mobiles[self.refused.mobile])
        before = np.concatenate([[0], np.cumsum(kept)])[refused.before]
        return replace(self, accepted=_of(self.accepted, kept), refused=replace(refused, before=before))

    def ages_s(self, count: int, which: Ints) -> Floats:
        """Return how old at most the count-th last accepted one was when each of the accepted was, s."""
        it = self.accepted
        ages: Floats = (it.end_ns[which] - it.start_ns[which - count] + self.skew_ns) / NS_PER_S
        return ages

    def refused_ages_s(self, count: int, which: Ints) -> Floats:
        """Return how old at least it was when each of the refused was, s; infinite where there was none."""
        ages, known = np.full(len(which), np.inf), self.refused.rank[which] >= count
        ended_ns = self.accepted.end_ns[self.refused.before[which[known]] - count]
        ages[known] = np.maximum(self.refused.start_ns[which[known]] - ended_ns - self.skew_ns, 0) / NS_PER_S
        return ages


def collect_attempts(table: LazyTable, most: int, skew_ms: float) -> Attempts:
    """Fetch the sends, of so many at most; then those to a sample of mobiles, at first to such as were refused one."""
    tries, ratio = _sample(_tries(table), most)
    frame = collect(tries)
    app = frame["app_key"].cat
    columns = [app.codes.to_numpy(np.int64), *(frame[name].to_numpy(np.int64) for name in _COLUMNS[1:])]
    accepted, refused = _arrange(columns)
    return Attempts(accepted, refused, app.categories.tolist(), ratio, round(skew_ms * NS_PER_MS))


def is_drawn(mobile: Ints, share: float) -> Bools:
    """Draw a share of mobiles, by their numbers: tell whose sends are drawn."""
    drawn: Bools = mobile * _SPREAD % _MODULUS < share * _MODULUS
    return drawn


def differs(*columns: Ints) -> Bools:
    """Tell of each row whether it differs from the one before; the first does."""
    found = np.ones(len(columns[0]), np.bool_)
    found[1:] = np.any([it[1:] != it[:-1] for it in columns], axis=0)
    return found


def _of(sends: _Sends, chosen: Bools) -> _Sends:
    return type(sends)(*(getattr(sends, column.name)[chosen] for column in fields(sends)))


def _tries(table: LazyTable) -> LazyTable:
    """Return the sends to known mobiles that were accepted or refused, or of which that isn't known."""
    state = nw.lit(_OTHER)
    for condition, value in (
        (nw.col("error").is_in([it.value for it in _LOSSES]), _LOST),
        (nw.col("return_code") == int(ReturnCode.OUT_OF_FREQ), _REFUSED),
        (IS_SUCCESS, _ACCEPTED),
    ):
        state = nw.when(condition.fill_null(False)).then(nw.lit(value)).otherwise(state)
    app = nw.col("app_key").cast(nw.String).fill_null("")
    sends = table.filter(IS_SEND, ~nw.col("mobile_key").is_null()).with_columns(app_key=app, state=state)
    return sends.filter(nw.col("state") != _OTHER).select(_COLUMNS)


def _sample(tries: LazyTable, most: int) -> tuple[LazyTable, float]:
    """Take all where they aren't more than ``most``, else the sends to mobiles that are drawn by their key."""
    calls = _len(tries)
    if calls <= most:
        return tries, 1.0
    key = ["app_key", "mobile_key"]
    refused = distinct_rows(tries.filter(nw.col("state") == _REFUSED), *key)
    theirs, others = (tries.join(refused, key, how) for how in ("semi", "anti"))
    among = _len(theirs)
    ratio = min(1.0, _OF_REFUSED * most / max(among, 1))
    rest = min(1.0, (most - among * ratio) / max(calls - among, 1))
    return nw.concat([_draw(theirs, ratio), _draw(others, rest)]), ratio


def _len(tries: LazyTable) -> int:
    return int(collect(tries.select(calls=nw.len()))["calls"].iloc[0])


def _draw(tries: LazyTable, ratio: float) -> LazyTable:
    # Twice, as the remainder of a negative number is another in every engine.
    place = (nw.col("mobile_key") % _MODULUS + _MODULUS) % _MODULUS
    return tries.filter(place < int(ratio * _MODULUS))


def _arrange(columns: list[Ints]) -> tuple[Accepted, Refused]:
    """Sort them, a refusal by its end: until then another send may have been accepted, which it then counts."""
    app, mobile_key, start_ns, latency_ns, state = columns
    end_ns = start_ns + latency_ns
    order = np.lexsort((end_ns, state, np.where(state == _REFUSED, end_ns, start_ns), mobile_key, app))
    app, mobile_key, start_ns, end_ns, state = (it[order] for it in (app, mobile_key, start_ns, end_ns, state))
    is_first = differs(app, mobile_key)
    mobile, accepted, refused = np.cumsum(is_first) - 1, state == _ACCEPTED, state == _REFUSED
    before = np.cumsum(accepted) - accepted
    rank = before - before[is_first][mobile]
    sends = {"start_ns": start_ns, "end_ns": end_ns, "mobile": mobile, "app": app, "rank": rank}
    row = np.cumsum(differs(mobile[refused], before[refused])) - 1
    length = np.bincount(row)[row] if len(row) else row
    is_after_loss = _is_after(state == _LOST, mobile, start_ns)[refused]
    return Accepted(**{name: it[accepted] for name, it in sends.items()}), Refused(
        **{name: it[refused] for name, it in sends.items()},
        before=before[refused],
        is_after_loss=is_after_loss,
        rows=1 / length,
        weight=np.minimum(_HEAVIEST_ROW / length, 1.0),
    )


def _is_after(marked: Bools, mobile: Ints, start_ns: Ints) -> Bools:
    """Tell which are to a mobile of which one that is marked came less than a day before."""
    latest = np.maximum.accumulate(np.where(marked, np.arange(len(marked)), -1))
    found: Bools = (latest >= 0) & (mobile[latest] == mobile) & (start_ns - start_ns[latest] < _DAY_NS)
    return found
