"""Make folders of runs that have a run.json and no calls, as an archive of CI keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_DAY_S = 86_400
_PERCENTILES = {"p50": 1.0, "p90": 2.0, "p95": 3.0, "p99": 5.0, "p99.9": 8.0, "max": 9.0}
SETTINGS: dict[str, Any] = {
    "scenario": "throughput",
    "rate_per_s": 50.0,
    "duration_s": 10.0,
    "target": "http://127.0.0.1:1",
    "ended": "finished",
    "target_at_end": "answered",
    "bottleneck": None,
    "saturation": None,
}


def write_run(out: Path, number: int, send_ms: float, *, failed: int = 0, **settings: object) -> Path:
    """Write the run.json of a run of 500 sends; a run that was killed has only settings."""
    folder = out / f"run{number:02}"
    folder.mkdir(parents=True)
    summary: dict[str, Any] = {"schema": 2, "settings": {**SETTINGS, "label": f"v{number}", **settings}}
    if summary["settings"]["ended"] != "incomplete":
        times = {name: send_ms * factor for name, factor in _PERCENTILES.items()}
        nothing = dict.fromkeys(_PERCENTILES)
        empty = {"calls": 0, "failed": 0, "rate_per_s": 0, "return_codes": {}, "errors": {}}
        summary |= {
            "started": str(np.datetime64("2026-10-01T08:00:00", "s") + np.timedelta64(number * _DAY_S, "s")) + "+00:00",
            "duration_s": 10.0,
            "calls": 500,
            "endpoints": {
                "send": {
                    "calls": 500,
                    "failed": failed,
                    "rate_per_s": 50.0,
                    "return_codes": {"50000": 500 - failed} | ({"50019": failed} if failed else {}),
                    "errors": {},
                    "latency_ms": times,
                    "caller_ms": times,
                },
                "verify": {**empty, "latency_ms": nothing, "caller_ms": nothing},
            },
        }
    (folder / "run.json").write_text(json.dumps(summary))
    return folder


def write_runs(out: Path, runs: int = 30, slower_from: int = 20) -> None:
    """Write runs that differ by 3 %, and are 15 % slower from one on."""
    draw = np.random.default_rng(3)
    for number in range(runs):
        write_run(out, number, 20 * (1.15 if number >= slower_from else 1) * (1 + 0.03 * draw.normal()))
