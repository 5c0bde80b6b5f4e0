"""Guessing: mobiles to which somebody sends codes and then tries them out."""

from __future__ import annotations

import narwhals as nw
import pandas as pd

from toolkit.analysis.calls_table import IS_SUCCESS, IS_VERIFY, IntoCalls, LazyTable, accepted_sends, collect, lazy
from toolkit.analysis.timestamps import bucket_start_ns, to_utc
from toolkit.api.defaults import FAILURES_PER_HOUR, TRIES
from toolkit.api.return_codes import ReturnCode

LEAST_FAILED = 10
_EVADED_FAILED, _EVADED_MESSAGES = 15, 3  # in a day: three messages' tries
_FAILED = [int(ReturnCode.INVALID_CODE), int(ReturnCode.EXPIRED_CODE)]
_REFUSED, _SUCCESS = int(ReturnCode.OUT_OF_FREQ), int(ReturnCode.SUCCESS)
_HOUR_NS, _DAY_NS = 3_600_000_000_000, 86_400_000_000_000
_COLUMNS = [
    *("mobile_key", "prefix", "failed", "messages", "most_on_a_message", "refused", "got_in"),
    *("most_per_minute", "most_per_hour", "most_per_day", "first_seen", "last_seen", "flagged"),
]


def guessers(calls: IntoCalls, least: int = LEAST_FAILED) -> pd.DataFrame:
    """Rank mobiles by how many verifies failed of messages to them.

    A verify failed where its code was invalid or expired; a message whose tries are used up counts as expired. Verifies
    of messages that no accepted send of these calls made are no mobile's and don't count. ``least``: how many failed
    ones a mobile has to have for a row; it takes memory for each hour in which such mobiles' codes were tried.

    The API allows 5 tries a message and 30 failed ones an hour. A mobile is flagged where that was used up: where a
    verify was refused for frequency, 30 failed in an hour, or more than 5 of one message; or where it was evaded: where
    15 failed in a day, and in all of 3 messages or more.

    One row per mobile, most failed verifies first; columns: mobile_key (int64), prefix (category), failed, messages
    (that those or refused ones were of), most_on_a_message (failed ones of one), refused (for frequency), got_in (codes
    typed right after the first of these), most_per_minute (verifies with any of these outcomes), most_per_hour,
    most_per_day (failed ones; of UTC's clock; all int64), first_seen, last_seen (of the failed and the refused ones,
    UTC, datetime64[ns, UTC]), flagged (bool).
    """
    table = lazy(calls, "mobile_key", "msg_key")
    has_keys = [~nw.col(name).is_null() for name in ("msg_key", "mobile_key")]
    sends, tries = accepted_sends(table).filter(*has_keys).select("msg_key", "mobile_key", "prefix"), _tries(table)
    guessed = _by_mobile(sends, tries, least)
    found = collect(guessed).merge(_busiest(collect(_by_hour(sends, tries, guessed))), "left", on="mobile_key")
    found = found.sort_values(["failed", "mobile_key"], ascending=[False, True], ignore_index=True)
    times = {name: to_utc(found[name]) for name in ("first_seen", "last_seen")}
    return found.assign(**times, flagged=_is_flagged(found))[_COLUMNS]


def _tries(table: LazyTable) -> LazyTable:
    """Return the verifies that judged a code or refused to."""
    code = nw.col("return_code")
    marks = {"failed": code.is_in(_FAILED), "refused": code == _REFUSED, "typed": IS_SUCCESS}
    whole = {name: nw.when(mark).then(1).otherwise(0) for name, mark in marks.items()}
    judged = table.filter(IS_VERIFY, ~nw.col("msg_key").is_null(), code.is_in([*_FAILED, _REFUSED, _SUCCESS]))
    return judged.select("msg_key", "started_ns", **whole)


def _by_mobile(sends: LazyTable, tries: LazyTable, least: int) -> LazyTable:
    """Sum up the failed and refused verifies of each mobile that has so many failed ones."""
    failed, refused, started = (nw.col(name) for name in ("failed", "refused", "started_ns"))
    sums = {"failed": failed.sum(), "refused": refused.sum(), "first_seen": started.min(), "last_seen": started.max()}
    of_message = tries.filter(nw.col("typed") == 0).group_by("msg_key").agg(**sums)
    of_mobile = sends.join(of_message, "msg_key").group_by("mobile_key", "prefix")
    found = of_mobile.agg(
        messages=nw.len(),
        most_on_a_message=failed.max(),
        failed=failed.sum(),
        refused=refused.sum(),
        first_seen=nw.col("first_seen").min(),
        last_seen=nw.col("last_seen").max(),
    )
    return found.filter(failed >= least)


def _by_hour(sends: LazyTable, tries: LazyTable, guessed: LazyTable) -> LazyTable:
    """Count the verifies of such mobiles by hour, and those of an hour's busiest minute."""
    named = sends.select("msg_key", "mobile_key").join(guessed.select("mobile_key", "first_seen"), "mobile_key")
    theirs = tries.join(named, "msg_key").with_columns(bucket_ns=bucket_start_ns("1min"))
    got_in = nw.when(nw.col("started_ns") > nw.col("first_seen")).then(nw.col("typed")).otherwise(0)
    minutes = theirs.with_columns(got_in=got_in).group_by("mobile_key", "bucket_ns")
    counts = minutes.agg(tries=nw.len(), failed=nw.col("failed").sum(), got_in=nw.col("got_in").sum())
    hours = counts.with_columns(hour_ns=nw.col("bucket_ns") - nw.col("bucket_ns") % _HOUR_NS)
    sums = {"failed": nw.col("failed").sum(), "got_in": nw.col("got_in").sum(), "tries": nw.col("tries").max()}
    return hours.group_by("mobile_key", "hour_ns").agg(**sums)


def _busiest(hours: pd.DataFrame) -> pd.DataFrame:
    """Return for each mobile its busiest minute, hour and day."""
    day_ns = hours["hour_ns"] // _DAY_NS
    days = hours.groupby(["mobile_key", day_ns])["failed"].sum().groupby("mobile_key").max()
    found = hours.groupby("mobile_key").agg(
        got_in=("got_in", "sum"), most_per_minute=("tries", "max"), most_per_hour=("failed", "max")
    )
    return found.assign(most_per_day=days).reset_index()


def _is_flagged(found: pd.DataFrame) -> pd.Series:
    beyond = (
        (found["refused"] > 0) | (found["most_per_hour"] >= FAILURES_PER_HOUR) | (found["most_on_a_message"] > TRIES)
    )
    return beyond | (found["most_per_day"] >= _EVADED_FAILED) & (found["messages"] >= _EVADED_MESSAGES)
