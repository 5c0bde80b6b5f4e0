"""Rhythm: how a level goes with the hour of the day and the day of the week, told apart from what changed for good."""

from __future__ import annotations

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.time_buckets import Floats, Ints

HOUR_NS = pd.Timedelta("1h").as_unit("ns").value
_CELLS = ((1, 24), (8, 21))  # hours a cell, cells a cycle: a day of hours, and a week of thirds of days
_LEAST_CYCLES = 4  # of fewer a rhythm isn't told from changes


def rhythm(hours: Ints, levels: Floats, at_ns: Ints) -> Floats:
    """Return by how much the rhythm raises a level at each of some times.

    ``hours``: since 1970, ascending, each once; ``levels``: theirs. The rhythm of each hour of the day, then of each 8
    hours of the week, is the median over the days, or weeks, of how far the level is from the median of a day, or
    week, around it: neither an incident nor a level that changed for good becomes a part of it. It is 0 where there are
    fewer than 4 days, or weeks.
    """
    raised, rest = np.zeros(len(at_ns)), levels.copy()
    for cell_h, cells in _CELLS:
        profile = _profile(hours, rest, cell_h, cells)
        rest -= _read(profile, hours * HOUR_NS + HOUR_NS // 2, cell_h)
        raised += _read(profile, at_ns, cell_h)
    return raised


def _profile(hours: Ints, levels: Floats, cell_h: int, cells: int) -> Floats:
    """Return how far each cell of a cycle is above its surroundings, by the median of the cycles."""
    if not len(hours) or hours[-1] - hours[0] + 1 < _LEAST_CYCLES * cells * cell_h:
        return np.zeros(cells)
    by_cell = pd.Series(levels).groupby(hours // cell_h).median()
    by_cell = by_cell.reindex(np.arange(by_cell.index[0], by_cell.index[-1] + 1))
    around = by_cell.rolling(cells + 1 - cells % 2, center=True, min_periods=cells // 2).median()
    medians = (by_cell - around).groupby(by_cell.index.to_numpy() % cells).median()
    return medians.reindex(np.arange(cells)).fillna(0.0).to_numpy()


def _read(profile: Floats, at_ns: Ints, cell_h: int) -> Floats:
    """Read a profile at times: it holds in the middle of a cell, and goes straight from there to the next."""
    place = at_ns / (cell_h * HOUR_NS) - 0.5
    return np.asarray(np.interp(place, np.arange(len(profile)), profile, period=len(profile)))
