"""Find mobiles whose codes are guessed: an attacker has codes sent to them and tries values."""

from __future__ import annotations

import narwhals as nw
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
)
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_DAY, NS_PER_HOUR, bucket_start_ns, to_utc
from toolkit.api.defaults import FAILURES_PER_HOUR, TRIES
from toolkit.api.return_codes import ReturnCode
from toolkit.price_list import PriceList
from toolkit.time_zone import UTC

MIN_FAILED = 10
# An attacker who stays below the limits: the tries of three messages in a day.
_EVASION_FAILED, _EVASION_MESSAGES = 15, 3
_FAILED = [int(ReturnCode.INVALID_CODE), int(ReturnCode.EXPIRED_CODE)]
_REFUSED, _SUCCESS = int(ReturnCode.OUT_OF_FREQ), int(ReturnCode.SUCCESS)
_COLUMNS = [
    *("mobile_key", "prefix", "failed", "messages", "most_on_a_message", "refused", "got_in"),
    *("most_per_minute", "most_per_hour", "most_per_day", "first_seen", "last_seen", "flagged"),
    *("money", "currency"),
]


@returns_result
def guessers(
    calls: IntoCalls, min_failed: int = MIN_FAILED, prices: PriceList | None = None, timezone: str = UTC
) -> pd.DataFrame:
    """Rank mobiles by the number of failed verifies for their messages.

    A verify is failed if its code was invalid or expired; a message without tries left counts as expired. Verifies for
    messages whose send is not among the calls are ignored.

    A mobile is flagged in two cases. Either a limit of the API was reached: a verify was refused for frequency, 30
    verifies failed in an hour, or more than 5 failed for one message. Or the limits were evaded: 15 verifies failed in
    a day, for 3 messages or more.

    Args:
        calls: Calls with ``mobile_key`` and ``msg_key``.
        min_failed: The number of failed verifies from which on a mobile is listed. Memory is proportional to the hours
            in which codes of such mobiles were tried.
        prices: The price list for ``money``.
        timezone: The time zone of the prices' first days, of days and of hours.

    Returns:
        One row per mobile, most failed verifies first, with these columns:

        - mobile_key (int64), prefix (category): ``toolkit.analysis.mobile_key`` computes the key of a mobile
        - failed (int64): failed verifies
        - messages (int64): messages with failed or refused verifies
        - most_on_a_message (int64): the highest number of failed verifies for one message
        - refused (int64): verifies refused for frequency
        - got_in (int64): successful verifies after the first failed or refused one
        - most_per_minute (int64): the highest number of all these verifies in a minute
        - most_per_hour, most_per_day (int64): the highest number of failed verifies in an hour and in a day
        - first_seen, last_seen (UTC, datetime64[ns, UTC]): the first and the last failed or refused verify
        - flagged (bool)
        - money (float64), currency (category): the cost of all messages to the mobile; null without a known price
    """
    table, offset_ns = on_even_wall_clock(lazy(calls, "return_code", "mobile_key", "msg_key"), timezone)
    has_keys = [~nw.col(name).is_null() for name in ("msg_key", "mobile_key")]
    sends = accepted_sends(table).filter(*has_keys).select("msg_key", "mobile_key", "prefix")
    verifies = _select_verifies(table)
    guessed = _sum_by_mobile(sends, verifies, min_failed)
    hours = collect(_sum_by_hour(sends, verifies, guessed))
    days = hours.groupby(["mobile_key", hours["hour_ns"] // NS_PER_DAY])["failed"].sum()
    peaks = hours.groupby("mobile_key").agg(
        got_in=("got_in", "sum"), most_per_minute=("verifies", "max"), most_per_hour=("failed", "max")
    )
    peaks = peaks.assign(most_per_day=days.groupby("mobile_key").max()).reset_index()
    found = collect(guessed).merge(peaks, "left", on="mobile_key")
    found = found.sort_values(["failed", "mobile_key"], ascending=[False, True], ignore_index=True)
    times = {name: to_utc(found[name] - offset_ns) for name in ("first_seen", "last_seen")}
    reached_limit = (
        (found["refused"] > 0) | (found["most_per_hour"] >= FAILURES_PER_HOUR) | (found["most_on_a_message"] > TRIES)
    )
    evaded_limits = (found["most_per_day"] >= _EVASION_FAILED) & (found["messages"] >= _EVASION_MESSAGES)
    found = found.assign(**times, flagged=reached_limit | evaded_limits)
    return add_money(found, calls, prices, "mobile_key", timezone)[_COLUMNS]


def _select_verifies(table: LazyTable) -> LazyTable:
    """Return the verifies that failed, succeeded or were refused, each marked by a 1 in one of three columns."""
    code = nw.col("return_code")
    marks = {"failed": code.is_in(_FAILED), "refused": code == _REFUSED, "succeeded": IS_SUCCESS}
    numbers = {name: nw.when(mark).then(1).otherwise(0) for name, mark in marks.items()}
    verifies = table.filter(IS_VERIFY, ~nw.col("msg_key").is_null(), code.is_in([*_FAILED, _REFUSED, _SUCCESS]))
    return verifies.select("msg_key", "started_ns", **numbers)


def _sum_by_mobile(sends: LazyTable, verifies: LazyTable, min_failed: int) -> LazyTable:
    """Sum up the failed and refused verifies of each mobile that has enough failed ones."""
    failed, refused, started = (nw.col(name) for name in ("failed", "refused", "started_ns"))
    sums = {"failed": failed.sum(), "refused": refused.sum(), "first_seen": started.min(), "last_seen": started.max()}
    by_message = verifies.filter(nw.col("succeeded") == 0).group_by("msg_key").agg(**sums)
    mobiles = sends.join(by_message, "msg_key").group_by("mobile_key", "prefix")
    found = mobiles.agg(
        messages=nw.len(),
        most_on_a_message=failed.max(),
        failed=failed.sum(),
        refused=refused.sum(),
        first_seen=nw.col("first_seen").min(),
        last_seen=nw.col("last_seen").max(),
    )
    return found.filter(failed >= min_failed)


def _sum_by_hour(sends: LazyTable, verifies: LazyTable, guessed: LazyTable) -> LazyTable:
    """Sum up the verifies of guessed mobiles by hour; ``verifies`` is the number in the busiest minute of the hour."""
    messages = sends.select("msg_key", "mobile_key").join(guessed.select("mobile_key", "first_seen"), "mobile_key")
    rows = verifies.join(messages, "msg_key").with_columns(bucket_ns=bucket_start_ns("1min"))
    got_in = nw.when(nw.col("started_ns") > nw.col("first_seen")).then(nw.col("succeeded")).otherwise(0)
    minutes = rows.with_columns(got_in=got_in).group_by("mobile_key", "bucket_ns")
    counts = minutes.agg(verifies=nw.len(), failed=nw.col("failed").sum(), got_in=nw.col("got_in").sum())
    hours = counts.with_columns(hour_ns=nw.col("bucket_ns") - nw.col("bucket_ns") % NS_PER_HOUR)
    sums = {"failed": nw.col("failed").sum(), "got_in": nw.col("got_in").sum(), "verifies": nw.col("verifies").max()}
    return hours.group_by("mobile_key", "hour_ns").agg(**sums)
