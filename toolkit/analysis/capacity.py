"""Tabulate the trials of a search for the capacity, and fit a model of scalability to them.

The model is N. Gunther's Universal Scalability Law (Guerrilla Capacity Planning, ch. 4 to 6). With n calls in flight
the throughput is

    x(n) = speed * n / (1 + contention * (n - 1) + coherency * n * (n - 1))

Contention is the share of the work that has to wait for its turn, coherency the cost of keeping n workers consistent.
Many services do not scale like this, so a fit is kept only if it predicts each trial that it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toolkit.analysis.tidy_frames import returns_result
from toolkit.api.errors import InputError
from toolkit.runs import run_folder
from toolkit.validation import load_json

_MIN_LOADS = 5
_MIN_RANGE = 4.0  # of the calls in flight: a narrower one shows a straight line at most
_MAX_ERROR = 0.1  # of a trial's throughput, predicted from the others
_NUMBERS = ("load", "duration_s", "achieved_per_s", "in_flight", "p50_ms", "p99_ms", "failed_ratio")

Floats = NDArray[np.float64]


def read_capacity(folder: str | Path) -> dict[str, Any]:
    """Return the content of a search's capacity.json; see docs/reference/capacity-json.md.

    Raises InputError if the folder has none, or if it is not that of a search.
    """
    path = Path(folder) / run_folder.CAPACITY_NAME
    try:
        content = load_json(path)
    except FileNotFoundError:
        raise InputError(f"{folder} has no {path.name}: expected the folder of smscode load --find-capacity") from None
    if not isinstance(content, dict) or not {"capacity", "trials"} <= content.keys():
        raise InputError(f"{path} has no result of a search: expected the file that smscode load --find-capacity wrote")
    return content


@returns_result
def capacity(content: Mapping[str, Any]) -> pd.DataFrame:
    """Tabulate the trials of a search, one row each, in their order.

    Args:
        content: The result of ``read_capacity`` or of ``find_capacity``.

    Columns: name (string), load (float64, journeys per second or users), result (string: held, missed, inconclusive),
        is_long (bool), duration_s (float64, s), messages (int64), achieved_per_s (float64, successful sends per
        second), in_flight (float64, mean calls in flight), p50_ms, p99_ms (float64, ms, callers' times of sends),
        failed_ratio (float64, 0..1), why (string, why it is inconclusive), load_unit (string), held_load, missed_load
        (float64, the borders of the capacity, the same in each row; null without a figure).
    """
    trials, found = content["trials"], content["capacity"] or {}
    frame = pd.DataFrame(
        {
            "name": pd.array([it["name"] for it in trials], "string"),
            "result": pd.array([it["result"] for it in trials], "string"),
            "is_long": pd.array([it["is_long"] for it in trials], "bool"),
            "messages": pd.array([it["messages"] for it in trials], "int64"),
            "why": pd.array([it["doubt_text"] for it in trials], "string"),
            **{name: np.array([it[name] for it in trials], np.float64) for name in _NUMBERS},
        }
    )
    borders = {"held_load": found.get("held"), "missed_load": found.get("missed")}
    return frame.assign(
        load_unit=pd.array([content["unit"]] * len(frame), "string"),
        **{name: np.full(len(frame), np.nan if it is None else it) for name, it in borders.items()},
    )


@returns_result
def scalability(trials: pd.DataFrame) -> pd.DataFrame:
    """Fit the Universal Scalability Law to trials; return no row if it does not fit.

    It fits if there are trials at five loads or more, whose calls in flight differ by a factor of four, and if each
    load's throughput is predicted from the other loads to 10 %. Trials of an open loop that missed a limit are left
    out: their queue grows, so they are in no steady state.

    Args:
        trials: The result of ``capacity``.

    Columns: in_flight, achieved_per_s (float64, of a trial), model_per_s (float64, the model's throughput), speed
        (float64, per second with one call in flight), contention, coherency (float64), peak_in_flight (float64, calls
        in flight with the highest throughput; null if throughput only grows), worst_error_ratio (float64, of a
        predicted load). The parameters are the same in each row.
    """
    is_steady = (trials["result"] == "held") | ((trials["load_unit"] == "users") & (trials["result"] == "missed"))
    used = trials[is_steady & (trials["achieved_per_s"] > 0) & (trials["in_flight"] > 0)]
    points = used.groupby("load", sort=True)[["in_flight", "achieved_per_s"]].mean()
    calls, per_s = (points[name].to_numpy(np.float64) for name in points)
    columns = ["model_per_s", "speed", "contention", "coherency", "peak_in_flight", "worst_error_ratio"]
    result = points.reset_index(drop=True)
    fitted = _fit(calls, per_s) if len(points) >= _MIN_LOADS else None
    if fitted is None or calls.max() < _MIN_RANGE * calls.min():
        return result.head(0).assign(**dict.fromkeys(columns, np.nan))
    errors = []
    for left_out in range(len(points)):
        others = np.arange(len(points)) != left_out
        guess = _fit(calls[others], per_s[others])
        errors.append(np.inf if guess is None else abs(_model(calls[left_out], *guess) / per_s[left_out] - 1))
    if max(errors) > _MAX_ERROR:
        return result.head(0).assign(**dict.fromkeys(columns, np.nan))
    speed, contention, coherency = fitted
    peak = np.sqrt((1 - contention) / coherency) if coherency > 0 and contention < 1 else np.nan
    values = (_model(calls, *fitted), speed, contention, coherency, peak, float(max(errors)))
    return result.assign(**dict(zip(columns, values, strict=True)))


def _model(calls: Floats, speed: float, contention: float, coherency: float) -> Floats:
    return np.asarray(speed * calls / (1 + contention * (calls - 1) + coherency * calls * (calls - 1)))


def _fit(calls: Floats, per_s: Floats) -> tuple[float, float, float] | None:
    """Return the parameters with the least relative errors, without negative ones; None if no such parameters exist.

    calls / x(calls) is linear in 1 / speed, contention / speed and coherency / speed, so this is a linear problem.
    """
    from scipy.optimize import nnls

    design = np.column_stack([np.ones_like(calls), calls - 1, calls * (calls - 1)])
    target = calls / per_s
    (inverse, contention, coherency), _ = nnls(design / target[:, None], np.ones_like(target))
    if inverse <= 0:
        return None
    return 1 / inverse, contention / inverse, coherency / inverse
