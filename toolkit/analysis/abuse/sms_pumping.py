"""Pumping: prefixes to which codes are sent that nobody wants, for a share of what they cost.

An attack walks through the numbers of a prefix, one after another and in a hurry, and types no code. Any one of these
has other causes: a carrier that loses messages, a campaign, a busy prefix. So they are judged together.
"""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import (
    IS_SUCCESS,
    IS_VERIFY,
    IntoCalls,
    LazyTable,
    accepted_sends,
    collect,
    lazy,
    verified_messages,
)
from toolkit.analysis.intervals import wilson
from toolkit.analysis.native_ops import with_previous
from toolkit.analysis.timestamps import bucket_start_ns, parse_width_ns, to_utc

# What each part adds to the score at most, and the score and the part of conversion from which on a prefix is flagged.
MOST_CONVERSION, MOST_BURST, MOST_RUNS = 40.0, 30.0, 30.0
FLAGGED_SCORE, FLAGGED_CONVERSION = 50.0, 10.0
_BURST_OF_ALL = 30.0  # times as many as expected: all of its part
_RUNS_OF_ALL = 0.3  # of a prefix's sends more than by chance: all of theirs
_SURE = 3.0  # standard deviations: many prefixes and buckets are looked at

# The busiest bucket of a prefix, its counts and its number, as one whole number whose greatest is the busiest.
_COUNT_BITS, _BUCKET_BITS = 20, 22
_MOST = 2**_COUNT_BITS - 1
_MODULUS = 1_000_003


def suspects(calls: IntoCalls, every: str | pd.Timedelta = "1h") -> pd.DataFrame:
    """Rank prefixes by how much what was sent to them looks like SMS pumping.

    ``every``: the width of a bucket of time, of which a log has less than 4 million. The score, 0..100, is a sum of
    three parts, each judged by the end of its interval that speaks for the prefix, so that a few sends prove nothing:

    - conversion, up to 40: how many of the messages were verified, in all or in the worst bucket, against everybody's
      others of that time; all of it where none was.
    - burst, up to 30: the bucket with most sends that were not verified, against what the prefix's other buckets and
      everybody's rhythm let expect; on a log scale, all of it from 30 times as many on.
    - runs, up to 30: sends that directly follow one to another mobile of the same or the last prefix, in the order of
      time of their app, against how often chance would have it; all of it from 30 % of sends more on.

    A prefix is flagged from a score of 50 on, if conversion is at least 10 of it.

    One row per prefix with accepted sends, the highest score first; columns: prefix (category), sends (accepted,
    int64), share (of all accepted ones, 0..1, float64), verified (messages, int64), conversion, conversion_elsewhere
    (verified to sends, of it and of all others, 0..1, float64), peak_at (start of its worst bucket, UTC, datetime64[ns,
    UTC]), peak_sends, peak_verified (in it, int64, exact below a million), peak_expected (not verified ones that were
    to expect in it, float64), run_ratio, run_ratio_expected (of its sends, 0..1, float64), conversion_score,
    burst_score, runs_score, score (float64), flagged (bool). Raise InputError for a width that isn't one.
    """
    table, width = lazy(calls, "prefix", "msg_key"), parse_width_ns(every)
    sends = accepted_sends(table).filter(~nw.col("prefix").is_null()).with_columns(bucket_ns=bucket_start_ns(every))
    rhythm = _rhythm(table, sends, every)
    first_ns = int(rhythm.index.min()) if len(rhythm) else 0
    found = _count(sends, verified_messages(table), first_ns, width).merge(_count_runs(sends), on="prefix")
    found = _judge(_against_all(found, rhythm))
    found = found.sort_values(["score", "sends", "prefix"], ascending=[False, False, True], ignore_index=True)
    return found.assign(peak_at=to_utc(found["peak_ns"]))[_COLUMNS]


_COLUMNS = [
    *("prefix", "sends", "share", "verified", "conversion", "conversion_elsewhere"),
    *("peak_at", "peak_sends", "peak_verified", "peak_expected", "run_ratio", "run_ratio_expected"),
    *("conversion_score", "burst_score", "runs_score", "score", "flagged"),
]


def _rhythm(table: LazyTable, sends: LazyTable, every: str | pd.Timedelta) -> pd.DataFrame:
    """Count everybody's sends and, of the time they were typed right, codes: rows by bucket, from the first to last."""
    typed = table.filter(IS_VERIFY, IS_SUCCESS).select(bucket_start_ns(every).alias("bucket_ns"))
    counts = [collect(it.group_by("bucket_ns").agg(calls=nw.len())) for it in (sends.select("bucket_ns"), typed)]
    by_time = [it.set_index("bucket_ns")["calls"] for it in counts]
    return pd.DataFrame({"sends": by_time[0], "verified": by_time[1].reindex(by_time[0].index, fill_value=0)})


def _count(sends: LazyTable, typed: LazyTable, first_ns: int, width: int) -> pd.DataFrame:
    """Count the sends of each prefix, its verified messages, and both in its worst bucket."""
    joined = sends.select("prefix", "msg_key", "bucket_ns").join(typed.with_columns(typed=nw.lit(1)), "msg_key", "left")
    is_typed = nw.when(nw.col("typed").is_null()).then(0).otherwise(1)
    marked = joined.select("prefix", "bucket_ns", typed=is_typed)
    counts = marked.group_by("prefix", "bucket_ns").agg(calls=nw.len(), typed=nw.col("typed").sum())
    counts = counts.with_columns(nw.col("calls").cast(nw.Int64), nw.col("typed").cast(nw.Int64))
    lost, number = _at_most(nw.col("calls") - nw.col("typed")), _number(first_ns, width)
    packed = (lost * 2**_COUNT_BITS + _at_most(nw.col("typed"))) * 2**_BUCKET_BITS + number
    of_prefix = counts.with_columns(packed=packed).group_by("prefix")
    found = collect(
        of_prefix.agg(sends=nw.col("calls").sum(), verified=nw.col("typed").sum(), packed=nw.col("packed").max())
    )
    return _unpack(found, first_ns, width)


def _number(first_ns: int, width: int) -> nw.Expr:
    # Half a bucket more, as a division may pass through floats.
    return ((nw.col("bucket_ns") - first_ns + width // 2) // width).cast(nw.Int64)


def _at_most(count: nw.Expr) -> nw.Expr:
    return nw.when(count > _MOST).then(nw.lit(_MOST)).otherwise(count)


def _unpack(found: pd.DataFrame, first_ns: int, width: int) -> pd.DataFrame:
    packed = found.pop("packed").to_numpy(np.int64)
    counts, number = packed >> _BUCKET_BITS, packed & (2**_BUCKET_BITS - 1)
    lost, typed = counts >> _COUNT_BITS, counts & _MOST
    return found.assign(peak_ns=first_ns + number * width, peak_sends=lost + typed, peak_verified=typed)


def _count_runs(sends: LazyTable) -> pd.DataFrame:
    """Count the sends of each prefix that directly follow one to another mobile of the same or the last prefix."""
    app, mobile = nw.col("app_key").cast(nw.String).fill_null(""), nw.col("mobile_key").fill_null(0) % _MODULUS
    number = nw.col("prefix").cast(nw.String).cast(nw.Int64)
    rows = sends.select("prefix", "bucket_ns", "started_ns", app=app, number=number, mobile=mobile)
    order = ["started_ns", "number", "mobile"]
    rows = with_previous(rows, ["number", "mobile"], ["app", "bucket_ns"], order)
    step = nw.col("number") - nw.col("previous_number")
    follows = ((step == 0) | (step == 1)) & (nw.col("mobile") != nw.col("previous_mobile"))
    marked = rows.select("prefix", runs=nw.when(follows.fill_null(False)).then(1).otherwise(0))
    return collect(marked.group_by("prefix").agg(runs=nw.col("runs").sum()))


def _against_all(found: pd.DataFrame, rhythm: pd.DataFrame) -> pd.DataFrame:
    """Set each prefix against all others: what they let expect of it."""
    sends, verified = found["sends"].sum(), found["verified"].sum()
    then = rhythm.reindex(found["peak_ns"]).set_axis(found.index)
    others_then = then["sends"] - found["peak_sends"], (then["verified"] - found["peak_verified"]).clip(lower=0)
    lost = found["sends"] - found["verified"]
    lost_then = found["peak_sends"] - found["peak_verified"]
    others_lost_then = (others_then[0] - others_then[1]).clip(lower=0)
    others_lost = (sends - verified - lost - others_lost_then).clip(lower=0)
    rest = found["sends"] / max(sends, 1)
    number = found["prefix"].astype("string").astype("int64")
    last = (number - 1).map(dict(zip(number, rest, strict=True))).fillna(0)
    return found.assign(
        share=rest,
        conversion=found["verified"] / found["sends"],
        conversion_elsewhere=_ratio(verified - found["verified"], sends - found["sends"]),
        conversion_then=_ratio(others_then[1], others_then[0]).clip(upper=1),
        peak_expected=_ratio((lost - lost_then) * others_lost_then, others_lost).where(others_lost > others_lost_then),
        run_ratio=found["runs"] / found["sends"],
        run_ratio_expected=rest + last,
    )


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    return (part / whole.where(whole > 0)).astype("float64")


def _judge(found: pd.DataFrame) -> pd.DataFrame:
    """Score the parts, and flag prefixes."""
    lost, expected = found["peak_sends"] - found["peak_verified"], found["peak_expected"]
    lack = _lack(found["verified"], found["sends"], found["conversion_elsewhere"])
    lack_then = _lack(found["peak_verified"], found["peak_sends"], found["conversion_then"])
    surely = (lost - _SURE * np.sqrt(lost)).clip(lower=1)
    times = surely / (expected + _SURE * np.sqrt(expected) + 1)
    low, _ = wilson(found["runs"], found["sends"], _SURE)
    parts = {
        "conversion_score": MOST_CONVERSION * np.maximum(lack, lack_then),
        "burst_score": MOST_BURST * (np.log(times) / np.log(_BURST_OF_ALL)).clip(0, 1).fillna(0),
        "runs_score": MOST_RUNS * ((low - found["run_ratio_expected"]) / _RUNS_OF_ALL).clip(0, 1).fillna(0),
    }
    score = sum(parts.values(), start=pd.Series(0.0, found.index))
    flagged = (score >= FLAGGED_SCORE) & (parts["conversion_score"] >= FLAGGED_CONVERSION)
    return found.assign(**parts, score=score, flagged=flagged)


def _lack(verified: pd.Series, sends: pd.Series, elsewhere: pd.Series) -> pd.Series:
    """Return how much of everybody's conversion is surely missing, 0..1."""
    _, high = wilson(verified, sends, _SURE)
    lack: pd.Series = 1 - high / elsewhere.where(elsewhere > 0)
    return lack.clip(0, 1).fillna(0)
