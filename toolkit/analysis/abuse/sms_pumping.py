"""Find prefixes that are targets of SMS pumping: an attacker has codes sent to their numbers for a share of the fee.

Problem: an attack walks through the numbers of a prefix, one after another and at a high rate, and verifies no code.
Each of these signs also has harmless causes: a carrier that loses messages, a campaign, a busy prefix. One sign alone
must therefore not flag a prefix, and a few sends must not prove anything.

Method: each prefix gets a score of 0 to 100, the sum of three parts. Each part compares the prefix with all others and
uses the end of a confidence interval (3 standard deviations, because many prefixes and buckets are tested) that favours
the prefix:

- conversion (up to 40): how far the conversion is below that of the others, over the whole log or in the worst bucket.
- burst (up to 30): the unverified sends of the worst bucket against the number that the prefix's other buckets and the
  traffic of all others let expect, on a log scale; 30 times as many give the full score.
- runs (up to 30): the share of sends that directly follow a send to another mobile of the same or the previous prefix,
  in the order of time of their app, against the share by chance; 30 percentage points more give the full score.

A prefix is flagged from a score of 50 on, if conversion contributes at least 10.

Example: in a month with a conversion of 0.85, 2,000 unverified sends go to the numbers of one prefix in three hours.
Conversion gives nearly 40. Burst gives 30: some 670 sends an hour against about 3 expected. Runs gives up to 30, less
if many other sends of the app come in between. The prefix is flagged.

Engines find the worst bucket of a prefix with one maximum. For this, its count of unverified sends, its count of
verified sends and its number are packed into one integer, the most significant part first:

    bits 42..61: unverified sends | bits 22..41: verified sends | bits 0..21: number of the bucket
"""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.billing.cost import add_money
from toolkit.analysis.calls_table import (
    IS_SUCCESS,
    IS_VERIFY,
    IntoCalls,
    LazyTable,
    accepted_sends,
    collect,
    lazy,
    on_even_wall_clock,
    verified_messages,
)
from toolkit.analysis.intervals import wilson
from toolkit.analysis.native_ops import with_previous
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import bucket_start_ns, parse_width_ns, to_utc
from toolkit.price_list import PriceList
from toolkit.time_zone import UTC

MAX_CONVERSION_SCORE, MAX_BURST_SCORE, MAX_RUNS_SCORE = 40.0, 30.0, 30.0
FLAGGED_SCORE, FLAGGED_CONVERSION_SCORE = 50.0, 10.0
_FULL_BURST_FACTOR = 30.0
_FULL_RUNS_EXCESS = 0.3
_DEVIATIONS = 3.0

_COUNT_BITS, _BUCKET_BITS = 20, 22
_MAX_COUNT = 2**_COUNT_BITS - 1
_MODULUS = 1_000_003  # shortens mobile keys, which are only compared for equality
_COLUMNS = [
    *("prefix", "sends", "sends_ratio", "verified", "conversion_ratio", "conversion_ratio_elsewhere"),
    *("peak_at", "peak_sends", "peak_verified", "peak_expected", "run_ratio", "run_ratio_expected"),
    *("conversion_score", "burst_score", "runs_score", "score", "flagged", "money", "currency"),
]


@returns_result
def suspects(
    calls: IntoCalls,
    every: str | pd.Timedelta = "1h",
    all_prefixes: bool = False,
    prices: PriceList | None = None,
    timezone: str = UTC,
) -> pd.DataFrame:
    """Rank prefixes by the likelihood of SMS pumping; the module describes the score.

    Args:
        calls: Calls with ``prefix`` and ``msg_key``.
        every: The width of the time buckets. A log may have up to 4 million buckets.
        all_prefixes: Whether prefixes that are not flagged are returned too.
        prices: The price list for ``money``.
        timezone: The time zone of the prices' first days, and to whose midnight buckets are aligned.

    Returns:
        One row per flagged prefix, the highest score first, with these columns:

        - prefix (category)
        - sends (int64): accepted
        - sends_ratio (0..1, float64): of all accepted sends
        - verified (int64): messages with a successful verify
        - conversion_ratio, conversion_ratio_elsewhere (0..1, float64): verified / sends of the prefix and of all others
        - peak_at (UTC, datetime64[ns, UTC]): the start of the bucket with the most unverified sends
        - peak_sends, peak_verified (int64): the sends and the verified messages in it, exact below a million
        - peak_expected (float64): the expected number of unverified sends in it
        - run_ratio, run_ratio_expected (0..1, float64): the share of sends that are in runs, and that by chance
        - conversion_score, burst_score, runs_score, score (float64)
        - flagged (bool)
        - money (float64), currency (category): the cost of all messages to the prefix; null without a known price

    Raises:
        InputError: ``every`` is not a positive duration.
    """
    table, offset_ns = on_even_wall_clock(lazy(calls, "return_code", "prefix", "msg_key"), timezone)
    width_ns = parse_width_ns(every)
    sends = accepted_sends(table).filter(~nw.col("prefix").is_null()).with_columns(bucket_ns=bucket_start_ns(every))
    totals = _totals_by_bucket(table, sends, every)
    first_ns = int(totals.index.min()) if len(totals) else 0
    found = _count(sends, verified_messages(table), first_ns, width_ns).merge(_count_runs(sends), on="prefix")
    found = _add_scores(_add_expectations(found, totals))
    found = found.sort_values(["score", "sends", "prefix"], ascending=[False, False, True], ignore_index=True)
    found = found if all_prefixes else found[found["flagged"]].reset_index(drop=True)
    found = found.assign(peak_at=to_utc(found["peak_ns"] - offset_ns))
    return add_money(found, calls, prices, "prefix", timezone)[_COLUMNS]


def _totals_by_bucket(table: LazyTable, sends: LazyTable, every: str | pd.Timedelta) -> pd.DataFrame:
    """Return the sends and the successful verifies (by the time of the verify) of all prefixes in each bucket."""
    verifies = table.filter(IS_VERIFY, IS_SUCCESS).select(bucket_start_ns(every).alias("bucket_ns"))
    sent, verified = (
        collect(it.group_by("bucket_ns").agg(calls=nw.len())).set_index("bucket_ns")["calls"]
        for it in (sends.select("bucket_ns"), verifies)
    )
    return pd.DataFrame({"sends": sent, "verified": verified.reindex(sent.index, fill_value=0)})


def _count(sends: LazyTable, verified: LazyTable, first_ns: int, width_ns: int) -> pd.DataFrame:
    """Count the sends and the verified messages of each prefix, in all and in its worst bucket."""
    verified = verified.with_columns(verified=nw.lit(1))
    joined = sends.select("prefix", "msg_key", "bucket_ns").join(verified, "msg_key", "left")
    is_verified = nw.when(nw.col("verified").is_null()).then(0).otherwise(1)
    marked = joined.select("prefix", "bucket_ns", verified=is_verified)
    counts = marked.group_by("prefix", "bucket_ns").agg(calls=nw.len(), verified=nw.col("verified").sum())
    counts = counts.with_columns(nw.col("calls").cast(nw.Int64), nw.col("verified").cast(nw.Int64))
    # Half a bucket is added because some engines divide integers as floats.
    bucket = ((nw.col("bucket_ns") - first_ns + width_ns // 2) // width_ns).cast(nw.Int64)
    unverified = _clip(nw.col("calls") - nw.col("verified"))
    packed = (unverified * 2**_COUNT_BITS + _clip(nw.col("verified"))) * 2**_BUCKET_BITS + bucket
    by_prefix = counts.with_columns(packed=packed).group_by("prefix")
    found = collect(
        by_prefix.agg(sends=nw.col("calls").sum(), verified=nw.col("verified").sum(), packed=nw.col("packed").max())
    )
    worst = found.pop("packed").to_numpy(np.int64)
    worst_counts, worst_bucket = worst >> _BUCKET_BITS, worst & (2**_BUCKET_BITS - 1)
    peak_unverified, peak_verified = worst_counts >> _COUNT_BITS, worst_counts & _MAX_COUNT
    return found.assign(
        peak_ns=first_ns + worst_bucket * width_ns,
        peak_sends=peak_unverified + peak_verified,
        peak_verified=peak_verified,
    )


def _clip(count: nw.Expr) -> nw.Expr:
    return nw.when(count > _MAX_COUNT).then(nw.lit(_MAX_COUNT)).otherwise(count)


def _count_runs(sends: LazyTable) -> pd.DataFrame:
    """Count the sends of each prefix that directly follow one to another mobile of the same or the previous prefix."""
    app, mobile = nw.col("app_key").cast(nw.String).fill_null(""), nw.col("mobile_key").fill_null(0) % _MODULUS
    number = nw.col("prefix").cast(nw.String).cast(nw.Int64)
    rows = sends.select("prefix", "bucket_ns", "started_ns", app=app, number=number, mobile=mobile)
    order = ["started_ns", "number", "mobile"]
    rows = with_previous(rows, ["number", "mobile"], ["app", "bucket_ns"], order)
    step = nw.col("number") - nw.col("previous_number")
    follows = ((step == 0) | (step == 1)) & (nw.col("mobile") != nw.col("previous_mobile"))
    marked = rows.select("prefix", runs=nw.when(follows.fill_null(False)).then(1).otherwise(0))
    return collect(marked.group_by("prefix").agg(runs=nw.col("runs").sum()))


def _add_expectations(found: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """Add to each prefix the values to expect by the traffic of all others."""
    sends, verified = found["sends"].sum(), found["verified"].sum()
    peak_totals = totals.reindex(found["peak_ns"]).set_axis(found.index)
    others_peak_sends = peak_totals["sends"] - found["peak_sends"]
    others_peak_verified = (peak_totals["verified"] - found["peak_verified"]).clip(lower=0)
    unverified = found["sends"] - found["verified"]
    peak_unverified = found["peak_sends"] - found["peak_verified"]
    others_peak_unverified = (others_peak_sends - others_peak_verified).clip(lower=0)
    others_unverified = (sends - verified - unverified - others_peak_unverified).clip(lower=0)
    expected = _ratio((unverified - peak_unverified) * others_peak_unverified, others_unverified)
    share = found["sends"] / max(sends, 1)
    number = found["prefix"].astype("string").astype("int64")
    share_of_previous = (number - 1).map(dict(zip(number, share, strict=True))).fillna(0)
    return found.assign(
        sends_ratio=share,
        conversion_ratio=found["verified"] / found["sends"],
        conversion_ratio_elsewhere=_ratio(verified - found["verified"], sends - found["sends"]),
        peak_conversion_elsewhere=_ratio(others_peak_verified, others_peak_sends).clip(upper=1),
        peak_expected=expected.where(others_unverified > others_peak_unverified),
        run_ratio=found["runs"] / found["sends"],
        run_ratio_expected=share + share_of_previous,
    )


def _ratio(part: pd.Series, whole: pd.Series) -> pd.Series:
    return (part / whole.where(whole > 0)).astype("float64")


def _add_scores(found: pd.DataFrame) -> pd.DataFrame:
    """Add the parts of the score, the score and the flag."""
    unverified, expected = found["peak_sends"] - found["peak_verified"], found["peak_expected"]
    lack = _missing_conversion(found["verified"], found["sends"], found["conversion_ratio_elsewhere"])
    peak_lack = _missing_conversion(found["peak_verified"], found["peak_sends"], found["peak_conversion_elsewhere"])
    at_least = (unverified - _DEVIATIONS * np.sqrt(unverified)).clip(lower=1)
    burst_factor = at_least / (expected + _DEVIATIONS * np.sqrt(expected) + 1)
    run_ratio_low, _ = wilson(found["runs"], found["sends"], _DEVIATIONS)
    runs_excess = run_ratio_low - found["run_ratio_expected"]
    scores = {
        "conversion_score": MAX_CONVERSION_SCORE * np.maximum(lack, peak_lack),
        "burst_score": MAX_BURST_SCORE * (np.log(burst_factor) / np.log(_FULL_BURST_FACTOR)).clip(0, 1).fillna(0),
        "runs_score": MAX_RUNS_SCORE * (runs_excess / _FULL_RUNS_EXCESS).clip(0, 1).fillna(0),
    }
    score = sum(scores.values(), start=pd.Series(0.0, found.index))
    flagged = (score >= FLAGGED_SCORE) & (scores["conversion_score"] >= FLAGGED_CONVERSION_SCORE)
    return found.assign(**scores, score=score, flagged=flagged)


def _missing_conversion(verified: pd.Series, sends: pd.Series, elsewhere: pd.Series) -> pd.Series:
    """Return the missing part of the conversion of all others, 0..1, at least."""
    _, high = wilson(verified, sends, _DEVIATIONS)
    missing: pd.Series = 1 - high / elsewhere.where(elsewhere > 0)
    return missing.clip(0, 1).fillna(0)
