"""Sends over some days in buckets of 5 minutes, with a rhythm, and whatever is planted in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

BUCKET_NS = 300_000_000_000
START_NS = 1_793_923_200_000_000_000  # 2026-11-06 00:00:00 UTC
A_DAY = 288  # buckets


def sends(
    seed: int,
    shares: Mapping[int, float],
    days: int = 30,
    per_bucket: float = 60,
    planted: Sequence[tuple[int, int, int, float]] = (),
    slow: Sequence[tuple[int, int, float]] = (),
    clusters: float = 0.0,
    rhythm: float = 0.0,
    rests: bool = False,
) -> pd.DataFrame:
    """Draw sends: the other codes than success have ``shares`` of them.

    ``planted``: code, first bucket, the one after the last, share in them; ``slow``: likewise, and how many times as
    long calls take. ``clusters``: the variance of the logarithm of how a bucket's shares differ by themselves.
    ``rhythm``: by which part shares and times go up and down with the hour; ``rests``: nobody calls at night.
    """
    draw = np.random.default_rng(seed)
    hour = np.arange(days * A_DAY) / 12
    wave = np.sin(2 * np.pi * hour / 24)
    rate = per_bucket * (1 + 0.8 * wave) * np.where(hour // 24 % 7 >= 5, 0.75, 1)
    if rests:
        rate[wave < -0.8] = 0
    calls = draw.poisson(rate)
    bucket = np.repeat(np.arange(len(calls)), calls)
    code = np.full(len(bucket), 50000)
    chance, upto = draw.random(len(bucket)), np.zeros(len(bucket))
    for number, share in shares.items():
        level = share * (1 + rhythm * wave) * np.exp(np.sqrt(clusters) * draw.standard_normal(len(calls)))
        for _, first, end, planted_share in (it for it in planted if it[0] == number):
            level[first:end] = planted_share
        code[(chance >= upto) & (chance < upto + level[bucket])] = number
        upto += level[bucket]
    times = 20e6 * (1 + rhythm * wave)
    for first, end, factor in slow:
        times[first:end] *= factor
    return pd.DataFrame(
        {
            "started_ns": START_NS + bucket * BUCKET_NS + draw.integers(0, BUCKET_NS, len(bucket)),
            "endpoint": "send",
            "latency_ns": (times[bucket] * draw.lognormal(0, 0.5, len(bucket))).astype("int64"),
            "return_code": code,
        }
    )


def starts(bucket: int) -> pd.Timestamp:
    """Return when a bucket starts."""
    return pd.Timestamp(START_NS + bucket * BUCKET_NS, tz="UTC")
