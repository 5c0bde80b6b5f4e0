"""Load the accepted and refused sends of each mobile as sorted arrays, with safe bounds on their times.

The service decides on a send at an unknown time between the request's start and its end, and the clocks of two client
hosts may differ by ``skew_ms``. The age of an earlier send is therefore rounded up for accepted sends and down for
refused ones. So neither latency nor clock skew can make a true rule look broken.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toolkit.analysis.calls_table import IS_SEND, IS_SUCCESS, LazyTable, collect, distinct_rows
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_MS, NS_PER_S
from toolkit.api.return_codes import ReturnCode
from toolkit.records.call_record import Failure

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ACCEPTED, _LOST, _REFUSED, _OTHER = range(4)
_LOST_RESPONSE = [Failure.TIMEOUT, Failure.RESET, Failure.PROTOCOL, Failure.CANCELLED]
_COLUMNS = ["app_key", "mobile_key", "started_ns", "latency_ns", "state"]
_REFUSED_MOBILES_RATIO = 0.8  # of a sample: only mobiles with a refusal show where a limit is
_MAX_RUN_WEIGHT = 30  # more refusals in a row add no evidence; fewer would let a few breaches outweigh a real rule
_MULTIPLIER, _MODULUS = 48_271, 1_000_003  # a hash with a prime modulus samples keys of any pattern evenly


@dataclass(frozen=True, slots=True)
class AcceptedSends:
    """Accepted sends, sorted by app, mobile and time; one array element per send.

    ``mobile`` and ``app`` are numbers from 0. ``rank`` is the number of earlier accepted sends to the same mobile.
    """

    start_ns: Ints
    end_ns: Ints
    mobile: Ints
    app: Ints
    rank: Ints

    def __len__(self) -> int:
        return len(self.start_ns)


@dataclass(frozen=True, slots=True)
class RefusedSends:
    """Sends refused as out of frequency, sorted by app, mobile and end; the first five fields as in AcceptedSends.

    ``position``: index of the next accepted send, whichever mobile it is to. ``is_after_loss``: in the day before, the
    response to a send to this mobile was lost, so that send may have been accepted. ``rows``: refusals without an
    accepted send between them repeat the same information, so each refusal of a run of n counts as 1/n. ``weight``: as
    ``rows``, but a run weighs up to 30 together.
    """

    start_ns: Ints
    end_ns: Ints
    mobile: Ints
    app: Ints
    rank: Ints
    position: Ints
    is_after_loss: Bools
    rows: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.start_ns)


_Sends = TypeVar("_Sends", AcceptedSends, RefusedSends)


@dataclass(frozen=True, slots=True)
class SendAttempts:
    """The sends from which rate limits can be inferred.

    ``apps``: names by number. ``sample_ratio``: share of the mobiles with a refusal that were loaded, 0..1.
    """

    accepted: AcceptedSends
    refused: RefusedSends
    apps: list[str]
    sample_ratio: float
    skew_ns: int

    @property
    def first_ns(self) -> int:
        """Return the start of the first send; 0 without sends."""
        starts = np.concatenate([self.accepted.start_ns, self.refused.start_ns])
        return int(starts.min()) if len(starts) else 0

    @property
    def last_ns(self) -> int:
        """Return the start of the last send; 0 without sends."""
        return max(int(sends.start_ns.max(initial=0)) for sends in (self.accepted, self.refused))

    @property
    def mobile_count(self) -> int:
        """Return the highest mobile number plus 1."""
        return 1 + max(int(sends.mobile.max(initial=-1)) for sends in (self.accepted, self.refused))

    def of_mobiles(self, is_selected: Bools) -> SendAttempts:
        """Return the sends to some mobiles; ``is_selected`` is indexed by mobile number."""
        is_kept = is_selected[self.accepted.mobile]
        refused = _select(self.refused, is_selected[self.refused.mobile])
        position = np.concatenate([[0], np.cumsum(is_kept)])[refused.position]
        return replace(self, accepted=_select(self.accepted, is_kept), refused=replace(refused, position=position))

    def max_ages_s(self, count: int, which: Ints) -> Floats:
        """Return for accepted sends an upper bound on the age of the count-th last accepted send, in seconds."""
        sends = self.accepted
        ages: Floats = (sends.end_ns[which] - sends.start_ns[which - count] + self.skew_ns) / NS_PER_S
        return ages

    def min_ages_s(self, count: int, which: Ints) -> Floats:
        """Return for refused sends a lower bound on that age, in seconds; infinite if there was no such send."""
        ages, is_known = np.full(len(which), np.inf), self.refused.rank[which] >= count
        ended_ns = self.accepted.end_ns[self.refused.position[which[is_known]] - count]
        ages[is_known] = np.maximum(self.refused.start_ns[which[is_known]] - ended_ns - self.skew_ns, 0) / NS_PER_S
        return ages


def _select(sends: _Sends, chosen: Bools) -> _Sends:
    return type(sends)(*(getattr(sends, column.name)[chosen] for column in fields(sends)))


def at_speed(table: LazyTable, speed: float) -> tuple[LazyTable, int]:
    """Return calls by the clock of a service that ran faster than the records' clock, and the time common to both.

    Args:
        table: Calls.
        speed: How many times faster the service's clock ran.
    """
    if speed == 1:
        return table, 0
    first = collect(table.select(first=nw.col("started_ns").min()))["first"].iloc[0]
    origin_ns = 0 if pd.isna(first) else int(first)
    started = ((nw.col("started_ns") - origin_ns) * speed).round().cast(nw.Int64) + origin_ns
    latency = (nw.col("latency_ns") * speed).round().cast(nw.Int64)
    return table.with_columns(started_ns=started, latency_ns=latency), origin_ns


def collect_attempts(table: LazyTable, most: int, skew_ms: float) -> SendAttempts:
    """Load at most about ``most`` sends; if there are more, those to a sample of mobiles."""
    state = nw.lit(_OTHER)
    for condition, value in (
        (nw.col("error").is_in([failure.value for failure in _LOST_RESPONSE]), _LOST),
        (nw.col("return_code") == int(ReturnCode.OUT_OF_FREQ), _REFUSED),
        (IS_SUCCESS, _ACCEPTED),
    ):
        state = nw.when(condition.fill_null(False)).then(nw.lit(value)).otherwise(state)
    app_key = nw.col("app_key").cast(nw.String).fill_null("")
    sends = table.filter(IS_SEND, ~nw.col("mobile_key").is_null()).with_columns(
        app_key=app_key, state=state, latency_ns=nw.col("latency_ns").fill_null(0)
    )
    sampled, sample_ratio = _sample(sends.filter(nw.col("state") != _OTHER).select(_COLUMNS), most)
    frame = collect(sampled)
    app = frame["app_key"].cat
    columns = [app.codes.to_numpy(np.int64), *(frame[name].to_numpy(np.int64) for name in _COLUMNS[1:])]
    accepted, refused = _sort(columns)
    return SendAttempts(accepted, refused, app.categories.tolist(), sample_ratio, round(skew_ms * NS_PER_MS))


def _sample(sends: LazyTable, most: int) -> tuple[LazyTable, float]:
    """Sample mobiles by their key, four fifths of the sends to mobiles with a refusal.

    Return the sampled sends, and the share of the mobiles with a refusal that are sampled.
    """
    calls = _count(sends)
    if calls <= most:
        return sends, 1.0
    key = ["app_key", "mobile_key"]
    refused_mobiles = distinct_rows(sends.filter(nw.col("state") == _REFUSED), *key)
    with_refusal, others = (sends.join(refused_mobiles, key, how) for how in ("semi", "anti"))
    count = _count(with_refusal)
    ratio = min(1.0, _REFUSED_MOBILES_RATIO * most / max(count, 1))
    others_ratio = min(1.0, (most - count * ratio) / max(calls - count, 1))
    return nw.concat([_sample_mobiles(with_refusal, ratio), _sample_mobiles(others, others_ratio)]), ratio


def _count(sends: LazyTable) -> int:
    return int(collect(sends.select(calls=nw.len()))["calls"].iloc[0])


def _sample_mobiles(sends: LazyTable, ratio: float) -> LazyTable:
    # Twice modulo, because engines disagree on the remainder of a negative number.
    remainder = (nw.col("mobile_key") % _MODULUS + _MODULUS) % _MODULUS
    return sends.filter(remainder < int(ratio * _MODULUS))


def is_sampled(mobile: Ints, ratio: float) -> Bools:
    """Return whether each mobile number is in a sample of the given ratio."""
    sampled: Bools = mobile * _MULTIPLIER % _MODULUS < ratio * _MODULUS
    return sampled


def is_run_start(*columns: Ints) -> Bools:
    """Return whether each row differs from the row before it; the first one does."""
    starts = np.ones(len(columns[0]), np.bool_)
    starts[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return starts


def _sort(columns: list[Ints]) -> tuple[AcceptedSends, RefusedSends]:
    """Sort the sends of each mobile by time, and compute the fields that depend on the order.

    A refusal is sorted by its end: a send that started before that may have been accepted first, and counts for it.
    """
    app, mobile_key, start_ns, latency_ns, state = columns
    end_ns = start_ns + latency_ns
    order = np.lexsort((end_ns, state, np.where(state == _REFUSED, end_ns, start_ns), mobile_key, app))
    app, mobile_key, start_ns, end_ns, state = (column[order] for column in (app, mobile_key, start_ns, end_ns, state))
    is_first = is_run_start(app, mobile_key)
    mobile, accepted, refused = np.cumsum(is_first) - 1, state == _ACCEPTED, state == _REFUSED
    position = np.cumsum(accepted) - accepted
    rank = position - position[is_first][mobile]
    shared = {"start_ns": start_ns, "end_ns": end_ns, "mobile": mobile, "app": app, "rank": rank}
    run = np.cumsum(is_run_start(mobile[refused], position[refused])) - 1
    run_length = np.bincount(run)[run] if len(run) else run
    last_loss = np.maximum.accumulate(np.where(state == _LOST, np.arange(len(state)), -1))
    is_after_loss = (last_loss >= 0) & (mobile[last_loss] == mobile) & (start_ns - start_ns[last_loss] < NS_PER_DAY)
    return AcceptedSends(**{name: column[accepted] for name, column in shared.items()}), RefusedSends(
        **{name: column[refused] for name, column in shared.items()},
        position=position[refused],
        is_after_loss=is_after_loss[refused],
        rows=1 / run_length,
        weight=np.minimum(_MAX_RUN_WEIGHT / run_length, 1.0),
    )
