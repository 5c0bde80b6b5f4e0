"""Find hosts whose clocks are wrong, from messages that one host sent and another one verified.

Problem. A host whose clock is 45 s slow records its sends 45 s too early. A limit of one send in 60 s then looks broken
or longer than it is. Records have no second clock to compare with.

Method. The delay of a message is the time from its send to its successful verify. If a clock is slow by 45 s, messages
sent by its host seem to take 45 s longer, and those verified by it 45 s less. The typing of people is the same in both
directions, so half the difference of the two median delays is the offset of the clock. Delays are compared with the
median of their app, because people of one app may be slower.

A clock can be wrong for a part of the log. The messages of a host are sorted by its clock, and each has a sign: -1 if
it makes the clock look slow, 1 if fast. In n messages of a right clock the signs add up to about 0, with a deviation
of sqrt(n). The period with the largest sum in such deviations is the candidate (an epidemic change point: Levin and
Kline, 1985). The host with the clearest period is corrected first, then all are searched again: until its times are
right, each other host seems to deviate by a part of its offset.

Worked example. Host C sent 20 messages that others verified after a median of 66 s, and verified 20 messages of others
after a median of -24 s. The offset is (-24 - 66) / 2 = -45 s: slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import narwhals as nw
import numpy as np
import pandas as pd

from toolkit.analysis.calls_table import IS_SUCCESS, IS_VERIFY, IntoCalls, LazyTable, accepted_sends, collect, lazy
from toolkit.analysis.rate_limits.send_attempts import Bools, Floats, Ints
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_HOUR, NS_PER_S, to_utc

_MIN_MESSAGES = 10  # in each direction; fewer show shorter periods, but then a median means little
_MIN_DEVIATIONS = 5.5  # of the sum of signs; lower finds smaller offsets, and false ones, as many periods are tried
_MIN_ERRORS = 4.0  # of the offset, in standard errors; protects from periods in which people are slow
_MAX_DELAY_NS = NS_PER_HOUR  # a code lives for minutes; longer finds larger offsets, and takes chance matches for some
_MIN_OFFSET_NS = NS_PER_S  # smaller offsets than the clocks of most logs, which have seconds
_BLOCKS = 300  # of a host's messages; more date a period more exactly, their square is the number of periods
_MAX_OFFSETS = 20
_SLACK_ERRORS = 3  # standard errors by which corrected times may be wrong; more widens the bounds of windows
_QUARTILE_ERROR = 1.25 / 1.349  # standard error of a median, in interquartile ranges / sqrt(n)


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """A host and a period by its clock in ns, both ends included, in which its clock is fast or, if negative, slow."""

    source: str
    since_ns: int
    until_ns: int
    offset_ns: int
    error_ns: int
    messages: int

    def __str__(self) -> str:
        return describe_offset(self.offset_ns / NS_PER_S)


@returns_result
def clock_offsets(calls: IntoCalls) -> pd.DataFrame:
    """Find the hosts (sources) whose clocks differ from those of the others, and by how much.

    Only messages that one host sent and another one verified show it. Nothing is found for hosts with fewer than 10
    such messages in each direction, for offsets below 1 s or near an hour, or if the delays vary too much for a certain
    offset. Of two hosts, the one with fewer calls is named.

    Args:
        calls: Calls with ``source`` and ``msg_key``.

    Returns:
        One row per host and period, the clearest first, with these columns:

        - source (category)
        - since, until (datetime64[ns, UTC]): the first and the last message of the period, by the host's own clock
        - offset_s (float64, s): how far its clock is fast; negative if it is slow
        - offset_error_s (float64, s): the standard error of the offset
        - messages (int64): those that show it

    >>> clock_offsets(calls)  # doctest: +SKIP
    """
    return to_frame(find_offsets(lazy(calls, "return_code")))


@returns_result
def to_frame(found: Sequence[ClockOffset]) -> pd.DataFrame:
    """Return offsets as the frame of ``clock_offsets``."""
    columns = {
        "source": pd.Series([it.source for it in found], dtype="category"),
        "since": to_utc(pd.Series([it.since_ns for it in found], dtype="int64")),
        "until": to_utc(pd.Series([it.until_ns for it in found], dtype="int64")),
        "offset_s": pd.Series([it.offset_ns / NS_PER_S for it in found], dtype="float64"),
        "offset_error_s": pd.Series([it.error_ns / NS_PER_S for it in found], dtype="float64"),
        "messages": pd.Series([it.messages for it in found], dtype="int64"),
    }
    return pd.DataFrame(columns)


def describe_offset(offset_s: float) -> str:
    """Return an offset as text.

    >>> describe_offset(-44.7)
    '44.7 s slow'
    """
    return f"{abs(offset_s):.3g} s {'slow' if offset_s < 0 else 'fast'}"


def correct_times(table: LazyTable, offsets: Sequence[ClockOffset]) -> LazyTable:
    """Return calls by a right clock; errors of the offsets make ``started_ns`` earlier and ``latency_ns`` longer."""
    started, latency = nw.col("started_ns"), nw.col("latency_ns")
    for it in offsets:
        is_wrong = (nw.col("source").cast(nw.String) == it.source) & started.is_between(it.since_ns, it.until_ns)
        is_wrong, slack_ns = is_wrong.fill_null(False), _SLACK_ERRORS * it.error_ns
        table = table.with_columns(
            started_ns=nw.when(is_wrong).then(started - it.offset_ns - slack_ns).otherwise(started),
            latency_ns=nw.when(is_wrong).then(latency.fill_null(0) + 2 * slack_ns).otherwise(latency),
        )
    return table


@dataclass(frozen=True, slots=True)
class _Messages:
    """Messages that one host sent and another one verified; hosts are indices of ``sources``, fewest calls first."""

    sources: list[str]
    sent_by: Ints
    sent_ns: Ints
    verified_by: Ints
    verified_ns: Ints
    app: Ints

    @classmethod
    def of(cls, frame: pd.DataFrame, sources: list[str]) -> _Messages:
        sent_by, verified_by = (
            pd.Index(sources).get_indexer(pd.Index(frame[name])) for name in ("sent_by", "verified_by")
        )
        sent_ns, verified_ns = (frame[name].to_numpy(np.int64) for name in ("sent_ns", "verified_ns"))
        return cls(sources, sent_by, sent_ns, verified_by, verified_ns, pd.factorize(frame["app"])[0])

    def correct(self, offset: ClockOffset) -> _Messages:
        """Return the messages with the times of a host and period corrected."""
        host = self.sources.index(offset.source)

        def right(hosts: Ints, times: Ints) -> Ints:
            is_wrong = (hosts == host) & (times >= offset.since_ns) & (times <= offset.until_ns)
            return np.where(is_wrong, times - offset.offset_ns, times)

        sent_ns, verified_ns = right(self.sent_by, self.sent_ns), right(self.verified_by, self.verified_ns)
        return replace(self, sent_ns=sent_ns, verified_ns=verified_ns)

    def clearest_offset(self) -> ClockOffset | None:
        """Return the offset whose signs deviate most; of equal ones, that of the host with fewer calls."""
        if not len(self.sent_ns):
            return None
        delay = (self.verified_ns - self.sent_ns).astype(np.float64)
        delay -= pd.Series(delay).groupby(self.app).transform("median").to_numpy()
        best, most = None, _MIN_DEVIATIONS
        for host, source in enumerate(self.sources):
            is_sender = self.sent_by == host
            which = np.flatnonzero(is_sender | (self.verified_by == host))
            at_ns = np.where(is_sender, self.sent_ns, self.verified_ns)[which]
            which, at_ns = which[np.argsort(at_ns, kind="stable")], np.sort(at_ns, kind="stable")
            signs = np.sign(delay[which]) * np.where(is_sender[which], -1, 1)
            deviations, first, last = _clearest_period(signs)
            if deviations > most and (offset := _offset(delay[which[first:last]], is_sender[which[first:last]])):
                period = int(at_ns[first]), int(at_ns[last - 1])
                best, most = ClockOffset(source, *period, *offset, last - first), deviations
        return best


def _clearest_period(signs: Floats) -> tuple[float, int, int]:
    """Return the largest sum of signs in deviations, and the indices of the first sign and after the last one."""
    sums, edges = np.concatenate([[0.0], signs.cumsum()]), _edges(np.arange(len(signs) + 1))
    deviations, first, last = _largest(sums, edges, edges)
    if (step := len(signs) // _BLOCKS) > 0:  # search the blocks around both ends more closely
        near = (np.arange(max(edge - step - 1, 0), min(edge + step + 1, len(signs)) + 1) for edge in (first, last))
        deviations, first, last = _largest(sums, *(_edges(it) for it in near))
    first = 0 if first < _MIN_MESSAGES else first
    return deviations, first, len(signs) if len(signs) - last < _MIN_MESSAGES else last


def _edges(indices: Ints) -> Ints:
    return indices[np.unique(np.linspace(0, len(indices) - 1, min(_BLOCKS, len(indices))).round().astype(np.int64))]


def _largest(sums: Floats, firsts: Ints, lasts: Ints) -> tuple[float, int, int]:
    counts = lasts[None, :] - firsts[:, None]
    total = np.abs(sums[lasts][None, :] - sums[firsts][:, None])
    deviations = np.where(counts >= 2 * _MIN_MESSAGES, total / np.sqrt(np.maximum(counts, 1)), 0.0)
    first, last = np.unravel_index(deviations.argmax(), deviations.shape)
    return float(deviations[first, last]), int(firsts[first]), int(lasts[last])


def _offset(delay: Floats, is_sender: Bools) -> tuple[int, int] | None:
    """Return the offset and its standard error in ns; None if it isn't certain."""
    sent, verified = delay[is_sender], delay[~is_sender]
    if min(len(sent), len(verified)) < _MIN_MESSAGES:
        return None
    offset_ns = (np.median(verified) - np.median(sent)) / 2
    errors = [_QUARTILE_ERROR * np.subtract(*np.percentile(it, [75, 25])) / np.sqrt(len(it)) for it in (sent, verified)]
    error_ns = float(np.hypot(*errors) / 2)
    if abs(offset_ns) < max(_MIN_OFFSET_NS, _MIN_ERRORS * error_ns):
        return None
    return round(offset_ns), round(error_ns)


def find_offsets(table: LazyTable) -> list[ClockOffset]:
    """Return the offsets of hosts, the clearest first."""
    source, has_key = nw.col("source").cast(nw.String), ~nw.col("msg_key").is_null()
    sends = (
        accepted_sends(table)
        .filter(has_key)
        .select(
            "msg_key", sent_by=source, sent_ns=nw.col("started_ns"), app=nw.col("app_key").cast(nw.String).fill_null("")
        )
    )
    verifies = table.filter(IS_VERIFY, IS_SUCCESS, has_key).select(
        "msg_key", verified_by=source, verified_ns=nw.col("started_ns")
    )
    hosts = collect(table.select(host=source).group_by("host").agg(calls=nw.len())).dropna(subset=["host"])
    if len(hosts) < 2:
        return []
    names = hosts.sort_values(["calls", "host"])["host"].astype(str).tolist()
    both = sends.join(verifies, "msg_key").filter(nw.col("sent_by") != nw.col("verified_by"))
    delay = nw.col("verified_ns") - nw.col("sent_ns")
    both = both.filter(delay.is_between(-_MAX_DELAY_NS, _MAX_DELAY_NS))
    frame = collect(both.select("sent_by", "sent_ns", "verified_by", "verified_ns", "app"))
    messages = _Messages.of(frame, names)
    found = list[ClockOffset]()
    while len(found) < _MAX_OFFSETS and (best := messages.clearest_offset()):
        found.append(best)
        messages = messages.correct(best)
    return found
