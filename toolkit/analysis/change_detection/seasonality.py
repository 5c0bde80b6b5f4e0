"""Estimate how a level depends on the hour of the day and the day of the week.

The seasonal component is additive: an hour-of-day profile of 24 cells, then a day-of-week profile of 21 cells of 8
hours. A cell's value is the median, over the days or weeks, of its difference from the running median of a day or week
around it. Medians keep incidents out of the profile, and the running median keeps out lasting changes of the level.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from toolkit.analysis.change_detection.time_buckets import Floats, Ints
from toolkit.analysis.timestamps import NS_PER_HOUR

_PROFILES = ((1, 24), (8, 21))  # hours per cell and cells per cycle, of a day and of a week
_MIN_CYCLES = 4  # in fewer days or weeks, a seasonal component can't be distinguished from changes


def seasonal_component(hours: Ints, levels: Floats, at_ns: Ints) -> Floats:
    """Return the seasonal component of a level at the times ``at_ns``, in the unit of the level.

    ``hours`` are hours since 1970, ascending and distinct, and ``levels`` the levels in these hours. With fewer than 4
    days there is no daily component (0), and with fewer than 4 weeks no weekly one.
    """
    component, remainder = np.zeros(len(at_ns)), levels.copy()
    for cell_h, cells in _PROFILES:
        profile = _profile(hours, remainder, cell_h, cells)
        remainder -= _interpolate(profile, hours * NS_PER_HOUR + NS_PER_HOUR // 2, cell_h)
        component += _interpolate(profile, at_ns, cell_h)
    return component


def _profile(hours: Ints, levels: Floats, cell_h: int, cells: int) -> Floats:
    if not len(hours) or hours[-1] - hours[0] + 1 < _MIN_CYCLES * cells * cell_h:
        return np.zeros(cells)
    by_cell = pd.Series(levels).groupby(hours // cell_h).median()
    by_cell = by_cell.reindex(np.arange(by_cell.index[0], by_cell.index[-1] + 1))
    around = by_cell.rolling(cells + 1 - cells % 2, center=True, min_periods=cells // 2).median()
    medians = (by_cell - around).groupby(by_cell.index.to_numpy() % cells).median()
    return medians.reindex(np.arange(cells)).fillna(0.0).to_numpy()


def _interpolate(profile: Floats, at_ns: Ints, cell_h: int) -> Floats:
    """Return a profile at some times, with linear interpolation between the middles of cells."""
    cell = at_ns / (cell_h * NS_PER_HOUR) - 0.5
    return np.asarray(np.interp(cell, np.arange(len(profile)), profile, period=len(profile)))
