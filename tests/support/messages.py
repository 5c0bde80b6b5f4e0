"""Sends and their verifies over some days, with whatever is planted in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

NS_PER_HOUR = 3_600_000_000_000
START_NS = 1_793_923_200_000_000_000  # 2026-11-06 00:00:00 UTC
PREFIXES = ("1380000", "1390000", "1860000", "1890000")  # China Mobile twice, Unicom, Telecom


Rows = pd.DataFrame


def messages(
    seed: int,
    days: int = 12,
    per_hour: float = 80,
    is_lost: Callable[[Rows], pd.Series] | None = None,
    is_failed: Callable[[Rows], pd.Series] | None = None,
    is_left_out: Callable[[Rows], pd.Series] | None = None,
    more: Callable[[Rows], pd.Series] | None = None,
) -> pd.DataFrame:
    """Draw sends, of which 85 % are verified after some seconds.

    The functions get the sends, with hour (float, since the start), temp_id, app_key and prefix, and return which of
    them are planted: ``is_lost`` arrives at nobody, ``is_failed`` is answered 50019, ``is_left_out`` isn't made, and
    ``more`` returns how many times as many are made (0 to 5).
    """
    draw = np.random.default_rng(seed)
    hours = np.arange(days * 24)
    rate = per_hour * (1 + 0.6 * np.sin(2 * np.pi * hours / 24))
    hour = np.repeat(hours, draw.poisson(rate * (5 if more else 1))).astype(float)
    hour = np.sort(hour + draw.random(len(hour)))
    temp_id = draw.choice([1, 2, 3, 4], len(hour), p=[0.4, 0.3, 0.2, 0.1])
    sends = pd.DataFrame({"hour": hour, "temp_id": temp_id, "app_key": np.where(temp_id < 3, "shop", "bank")})
    sends["prefix"] = draw.choice(PREFIXES, len(hour))
    if more:
        sends = sends[draw.random(len(sends)) < more(sends) / 5].reset_index(drop=True)
    if is_left_out:
        sends = sends[~is_left_out(sends)].reset_index(drop=True)
    failed = draw.random(len(sends)) < 0.002
    failed |= is_failed(sends).to_numpy() if is_failed else False
    sends["started_ns"] = START_NS + (sends["hour"] * NS_PER_HOUR).astype("int64")
    sends["msg_key"] = pd.array(np.arange(len(sends)), "Int64")
    sends["msg_key"] = sends["msg_key"].mask(failed)
    sends = sends.assign(endpoint="send", return_code=np.where(failed, 50019, 50000))
    sends["kind"] = np.where(failed, "SERVER", "OK")
    is_typed = (draw.random(len(sends)) < 0.85) & ~failed
    is_typed &= ~is_lost(sends).to_numpy() if is_lost else True
    verifies = sends.loc[is_typed, ["app_key", "msg_key", "started_ns"]]
    verifies["started_ns"] += (draw.lognormal(2.5, 0.5, len(verifies)) * 1e9).astype("int64")
    verifies = verifies.assign(endpoint="verify", return_code=50000, kind="OK")
    calls = pd.concat([sends.drop(columns="hour"), verifies], ignore_index=True)
    latency_ns = (20e6 * draw.lognormal(0, 0.3, len(calls))).astype("int64")
    return calls.assign(latency_ns=latency_ns).astype({"temp_id": "Int64"})


def at(hour: float) -> pd.Timestamp:
    """Return the time of an hour since the start."""
    return pd.Timestamp(START_NS + int(hour * NS_PER_HOUR), tz="UTC")
