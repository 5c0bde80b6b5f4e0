"""Tables of false alarms, power and detection for ``truth.py``: calls with a known change, or with none."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.simulation.send_limits import NO_SENDS, SendLimit, are_accepted

Row = tuple[str, ...]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_START_NS = 1_793_923_200_000_000_000  # 2026-11-06 00:00:00 UTC
_HOUR_NS = 3_600_000_000_000
_DAY_S = 86_400
_DAY_NS = 24 * _HOUR_NS
_STEPS = 4_800  # of a level that wanders
_SLACK = pd.Timedelta("4h")  # two buckets of a month, between a planted change and the one that is found


def compare_alarms(seed: int, repeats: int) -> Iterator[Row]:
    """Compare two runs, equal ones and such whose second one is slower.

    Alarm: comparisons in which any figure differs. Found: comparisons in which p99 differs. Coverage: 95 % intervals
    that contain the true difference of 0.
    """
    from toolkit import analysis

    yield ("two runs", "alarm", "found", "coverage of p50", "coverage of p99")
    for name, (run_s, rate, memory_s, factor) in _RUNS.items():
        cells = []
        for repeat in range(repeats):
            draw = np.random.default_rng((seed, repeat))
            a, b = _run(draw, run_s, rate, memory_s), _run(draw, run_s, rate, memory_s, factor)
            found = analysis.compare(a, b)
            p99 = found[found["percentile"] == 99]["differs"].fillna(False).any()
            covered = [
                ((it["difference_low"] <= 0) & (it["difference_high"] >= 0)).all()
                for it in (found[found["percentile"] == at] for at in (50, 99))
            ]
            cells.append((found["differs"].fillna(False).any(), p99, *covered))
        yield (name, *(f"{share:.0%}" for share in np.mean(cells, axis=0)))


# Seconds, calls a second, memory of the latency in s (0: independent calls), times as slow in the second run.
_RUNS = {
    "10 minutes, independent calls": (600, 200.0, 0.0, 1.0),
    "10 minutes, latency wanders for 22 s": (600, 200.0, 22.0, 1.0),
    "2 days, latency wanders for 2 hours": (2 * _DAY_S, 0.35, 7_200.0, 1.0),
    "10 minutes, 10 % slower": (600, 200.0, 0.0, 1.1),
}


def _run(draw: np.random.Generator, run_s: float, rate: float, memory_s: float, factor: float = 1.0) -> pd.DataFrame:
    """Return sends whose latency is log-normal around a level that wanders by 20 %."""
    from scipy.signal import lfilter

    at_s = draw.random(draw.poisson(rate * run_s)) * run_s
    kept = np.exp(-run_s / _STEPS / memory_s) if memory_s else 0.0
    steps = draw.normal(0, np.sqrt(1 - kept**2), _STEPS)
    steps[0] = draw.normal()
    level = 0.2 * lfilter([1], [1, -kept], steps) if memory_s else np.zeros(_STEPS)
    times = 20e6 * factor * np.exp(draw.normal(0, 0.5, len(at_s)) + level[(at_s / run_s * _STEPS).astype(np.int64)])
    started_ns = _START_NS + (at_s * 1e9).astype(np.int64)
    fixed = {
        "endpoint": "send",
        "return_code": np.where(draw.random(len(at_s)) < 0.01, int(ReturnCode.OUT_OF_FREQ), int(ReturnCode.SUCCESS)),
    }
    return pd.DataFrame({"started_ns": started_ns, "latency_ns": times.astype(np.int64)} | fixed)


def month_detection(seed: int, repeats: int) -> Iterator[Row]:
    """Plant a fault in a quiet simulated month of 60,000 calls, at a time of day that calls have.

    Found: months with a change that begins within 4 hours of the fault. False: months with another change at another
    time. The fault of a template counts as found only if its return code rises, and if the change ends within 4 hours
    of the fault's end, or has no end if the fault has none.
    """
    from toolkit import analysis

    months = list(_quiet_months(seed, repeats))
    yield ("planted in a month of 60,000 calls", "found", "false")
    for name, (plant, code) in _FAULTS.items():
        cells = []
        for repeat, month in enumerate(months):
            draw = np.random.default_rng((seed, repeat))
            begin_ns = _begin_ns(month, repeat)
            calls, end_ns = plant(draw, month, begin_ns) if plant else (month, None)
            found = analysis.changes(calls)
            begin = pd.Timestamp(begin_ns, tz="UTC")
            is_right = (found["changed_at"] - begin).abs() <= _SLACK
            if code is not None:
                is_right &= (found["return_code"] == code).fillna(False) & (found["difference"] > 0)
                until = pd.NaT if end_ns is None else pd.Timestamp(end_ns, tz="UTC")
                is_right &= found["until"].isna() if end_ns is None else (found["until"] - until).abs() <= _SLACK
            end = found["changed_at"].max() if end_ns is None else pd.Timestamp(end_ns, tz="UTC")
            elsewhere = (found["changed_at"] < begin - _SLACK) | (found["changed_at"] > end + _SLACK)
            cells.append((bool(is_right.any()) and plant is not None, bool(elsewhere.any())))
        yield (name, *(f"{count} of {repeats}" for count in np.sum(cells, axis=0)))


def _quiet_months(seed: int, repeats: int) -> Iterator[pd.DataFrame]:
    from toolkit import analysis
    from toolkit.simulation import SimulationPlan, simulate

    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder), SimulationPlan(days=30, calls=60_000, seed=seed + repeat, incidents=()))
            yield analysis.read(folder).to_pandas()


def _begin_ns(month: pd.DataFrame, repeat: int) -> int:
    """Return a time from the 6th to the 20th day at which calls are made."""
    first_ns = int(month["started_ns"].sample(1, random_state=repeat).iloc[0])
    earliest_ns = int(month["started_ns"].min()) + 5 * _DAY_NS
    return earliest_ns + (first_ns - earliest_ns) % (15 * _DAY_NS)


def limit_changes(seed: int, repeats: int) -> Iterator[Row]:
    """Change the hourly limit in a quiet simulated month of 60,000 calls, or leave it as it is.

    Found: months in which two periods have the two limits, and the second one begins within 4 hours of the change.
    Periods: months in which the rules have more than one period.
    """
    from toolkit import analysis

    yield ("sends accepted in an hour", "found", "periods")
    months = list(_quiet_months(seed, repeats))
    for name, (before, after) in {"5": (5, 5), "5, then 3": (5, 3), "3, then 5": (3, 5)}.items():
        cells = []
        for repeat, month in enumerate(months):
            change_ns = _begin_ns(month, repeat)
            found = analysis.limits(_limited(month, before, after, change_ns))
            since = found["since"].unique()
            hourly = found.loc[found["window_s"] == _HOUR_NS / 1e9, "max_sends"].tolist()
            is_dated = len(since) == 2 and abs(since[1] - pd.Timestamp(change_ns, tz="UTC")) <= _SLACK
            cells.append((is_dated and hourly == [before, after], len(since) > 1))
        yield (name, *(f"{count} of {repeats}" for count in np.sum(cells, axis=0)))


def _limited(calls: pd.DataFrame, before: int, after: int, change_ns: int) -> pd.DataFrame:
    """Decide on the sends again, by an hourly limit that changes; leave out the verifies of refused ones."""
    is_open = calls["return_code"].isin([ReturnCode.SUCCESS, ReturnCode.OUT_OF_FREQ]) & calls["mobile_key"].notna()
    sends = calls[is_open & (calls["endpoint"] == "send")].sort_values("started_ns")
    keys = pd.factorize(sends["app_key"].astype(str) + sends["mobile_key"].astype(str))[0].astype(np.int64)
    limits = [SendLimit.from_rule(Rule(1, 60)), SendLimit(before, _HOUR_NS, after, change_ns)]
    limits.append(SendLimit.from_rule(Rule(10, _DAY_S)))
    is_accepted = are_accepted(limits, NO_SENDS, keys, sends["started_ns"].to_numpy(np.int64))
    codes = np.where(is_accepted, int(ReturnCode.SUCCESS), int(ReturnCode.OUT_OF_FREQ))
    decided = calls.assign(return_code=calls["return_code"].mask(is_open, pd.Series(codes, sends.index)))
    lost = sends.loc[~is_accepted, "msg_key"].dropna()
    return decided[(decided["endpoint"] == "send") | ~decided["msg_key"].isin(lost)]


Planted = tuple[pd.DataFrame, int | None]


def _outage(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    end_ns = begin_ns + _HOUR_NS // 5
    chance = draw.random(len(calls))
    hit = calls["started_ns"].between(begin_ns, end_ns) & (chance < 0.9)
    calls = calls.astype({"kind": "string", "error": "string", "return_code": "Int64"})
    server, timeout = hit & (chance < 0.55), hit & (chance >= 0.55)
    calls.loc[server, ["return_code", "kind", "http_status"]] = [int(ReturnCode.SERVER_ERROR), Kind.SERVER.value, 500]
    calls.loc[timeout, ["return_code", "kind", "http_status"]] = [pd.NA, pd.NA, pd.NA]
    calls.loc[timeout, "error"] = np.where(chance[timeout] < 0.75, "timeout", "connect")
    return calls, end_ns


def _nobody_verifies(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    return _lose(calls, begin_ns, begin_ns + 12 * _HOUR_NS, calls["msg_key"].notna())


def _carrier_loses(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    from toolkit.analysis.carriers import carriers

    names = carriers(calls["prefix"].astype(object).dropna().unique())
    prefixes = names.loc[names["carrier"] == "China Unicom", "prefix"].tolist()
    return _lose(calls, begin_ns, begin_ns + 48 * _HOUR_NS, calls["prefix"].isin(prefixes))


def _lose(calls: pd.DataFrame, begin_ns: int, end_ns: int, is_affected: pd.Series) -> Planted:
    """Leave out the verifies of the affected messages that were sent in a period."""
    is_send = calls["endpoint"] == "send"
    lost = calls.loc[is_send & is_affected & calls["started_ns"].between(begin_ns, end_ns), "msg_key"].dropna()
    return calls[is_send | ~calls["msg_key"].isin(lost)], end_ns


def _no_calls(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    end_ns = begin_ns + 12 * _HOUR_NS
    return calls[~calls["started_ns"].between(begin_ns, end_ns)], end_ns


def _broken_template(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    return _break_template(draw, calls, begin_ns, None), None


def _repaired_template(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int) -> Planted:
    end_ns = begin_ns + 96 * _HOUR_NS
    return _break_template(draw, calls, begin_ns, end_ns), end_ns


def _break_template(draw: np.random.Generator, calls: pd.DataFrame, begin_ns: int, end_ns: int | None) -> pd.DataFrame:
    """Let 80 % of the sends of template 4 fail, and multiply other traffic by 5 from 36 to 132 hours after it began.

    The additional traffic is that of four other periods of the month, at the same time of day.
    """
    others, start_ns = calls[(calls["temp_id"] != 4).fillna(True)], int(calls["started_ns"].min())
    extra = []
    for number in range(1, 5):
        days_ns = (others["started_ns"] - start_ns + 5 * number * _DAY_NS) % (30 * _DAY_NS)
        moved = others.assign(started_ns=start_ns + days_ns, msg_key=others["msg_key"] + number)
        extra.append(moved[moved["started_ns"].between(begin_ns + 36 * _HOUR_NS, begin_ns + 132 * _HOUR_NS)])
    both = pd.concat([calls, *extra], ignore_index=True).astype({"kind": "string", "return_code": "Int64"})
    is_broken = (both["endpoint"] == "send") & (both["temp_id"] == 4).fillna(False) & (draw.random(len(both)) < 0.8)
    is_broken &= both["started_ns"].between(begin_ns, end_ns or both["started_ns"].max())
    both.loc[is_broken, ["return_code", "kind", "http_status"]] = [
        int(ReturnCode.INVALID_TEMP_ID),
        Kind.REQUEST.value,
        403,
    ]
    return both


_FAULTS: dict[str, tuple[Callable[[np.random.Generator, pd.DataFrame, int], Planted] | None, ReturnCode | None]] = {
    "nothing": (None, None),
    "outage of 12 minutes": (_outage, None),
    "nobody verifies for 12 hours": (_nobody_verifies, None),
    "a carrier loses all messages for 48 hours": (_carrier_loses, None),
    "no call for 12 hours": (_no_calls, None),
    "a template fails for good, a campaign dilutes it": (_broken_template, ReturnCode.INVALID_TEMP_ID),
    "a template fails for 4 days, the same campaign": (_repaired_template, ReturnCode.INVALID_TEMP_ID),
}
