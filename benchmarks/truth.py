"""Measure the statistical claims on data whose truth is known: `python benchmarks/truth.py TABLE [--repeats N]`.

Each table is a function that takes a seed and a number of repetitions and yields rows of text, the header first. It is
registered in TABLES. The same seed gives the same table. `all` prints every table.
"""

import argparse
import inspect
import platform
from collections.abc import Callable, Iterator
from importlib import metadata

import detection_truth
import numpy as np
import numpy.typing as npt

Row = tuple[str, ...]
Floats = npt.NDArray[np.float64]

_PACKAGES = ("numpy", "scipy", "pandas", "ruptures")
_DAYS_AHEAD, _DAYS_PAST = 20, (14, 28, 56)
_HOLIDAYS = np.arange(7, 10)  # days ahead; the forecast knows their dates, not their effect
_RHYTHM = np.array([1.0, 1.02, 1.0, 0.98, 1.1, 0.7, 0.6])  # of a week from Monday on


def forecast_coverage(seed: int, repeats: int) -> Iterator[Row]:
    """Compare the forecast of the next 20 days with their true sum, after 14, 28 and 56 days of history.

    Covered: months whose sum is within the 95 % interval. Width: the mean width of the interval, in % of the true sum.
    Bias: the mean of the forecast's error, in % of the true sum.
    """
    from toolkit.analysis.billing.traffic_model import forecast_sums

    yield ("days", *(f"{name} after {past} days" for past in _DAYS_PAST for name in ("covered", "width", "bias")))
    for name, make in _TRAFFIC.items():
        cells = [name]
        for past in _DAYS_PAST:
            found = []
            for repeat in range(repeats):
                days = make(np.random.default_rng((seed, past, repeat)), past)
                is_holiday = np.isin(np.arange(len(days)), past + _HOLIDAYS) & ("holiday" in name)
                forecast = forecast_sums(days[:past], 0, np.ones(_DAYS_AHEAD), is_holiday)
                low, middle, high = (it[-1] for it in (forecast.low, forecast.expected, forecast.high))
                true = days[past:].sum()
                found.append((low <= true <= high, (high - low) / true, (middle - true) / true))
            covered, width, bias = np.mean(found, axis=0)
            cells += [f"{covered:.0%}", f"{width:.0%}", f"{bias:+.1%}"]
        yield tuple(cells)


def _days(draw: np.random.Generator, level: Floats) -> Floats:
    """Return counts of messages around a level, with a deviation of 5 % and that of a Poisson process."""
    return draw.poisson(level * (1 + 0.05 * draw.normal(size=len(level)))).astype(np.float64)


def _ar(draw: np.random.Generator, days: int, rho: float) -> Floats:
    errors = draw.normal(size=days + 100)
    for day in range(1, len(errors)):
        errors[day] += rho * errors[day - 1]
    return errors[100:]


def _flat(days: int, growth: float = 0.0) -> Floats:
    return np.asarray(2_000 * (1 + growth) ** np.arange(days + _DAYS_AHEAD), np.float64)


def _step(past: int) -> Floats:
    return _flat(past) * np.where(np.arange(past + _DAYS_AHEAD) >= past - 7, 1.4, 1.0)


def _holiday(past: int) -> Floats:
    """Return a level that falls to 60 % for three days, a week after the forecast."""
    return _flat(past) * np.where(np.isin(np.arange(past + _DAYS_AHEAD), past + _HOLIDAYS), 0.6, 1.0)


# For each kind of traffic: the counts of the past days and of the 20 days that are forecast.
_TRAFFIC: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "independent": lambda draw, past: _days(draw, _flat(past)),
    "AR(0.7)": lambda draw, past: _days(draw, _flat(past) * (1 + 0.05 * _ar(draw, past + _DAYS_AHEAD, 0.7))),
    "random walk, 3 % a day": lambda draw, past: _days(
        draw, _flat(past) * np.exp(np.cumsum(0.03 * draw.normal(size=past + _DAYS_AHEAD)))
    ),
    "growth of 0.3 % a day": lambda draw, past: _days(draw, _flat(past, 0.003)),
    "growth of 1 % a day": lambda draw, past: _days(draw, _flat(past, 0.01)),
    "a step of 40 % a week ago": lambda draw, past: _days(draw, _step(past)),
    "weekday rhythm": lambda draw, past: _days(draw, _flat(past) * _RHYTHM[np.arange(past + _DAYS_AHEAD) % 7]),
    "a public holiday ahead": lambda draw, past: _days(draw, _holiday(past)),
}

TABLES: dict[str, Callable[[int, int], Iterator[Row]]] = {
    "compare_alarms": detection_truth.compare_alarms,
    "month_detection": detection_truth.month_detection,
    "limit_changes": detection_truth.limit_changes,
    "forecast_coverage": forecast_coverage,
}


def show(rows: Iterator[Row]) -> None:
    """Print rows as a Markdown table, each as soon as it is known."""
    header = next(rows)
    print(f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "all"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=60, help="repetitions of each cell (default 60)")
    given = parser.parse_args()
    for name, table in TABLES.items():
        if given.table in (name, "all"):
            print(f"\n## {name}: seed {given.seed}, {given.repeats} repetitions\n\n{inspect.getdoc(table)}\n")
            show(table(given.seed, given.repeats))
    versions = ", ".join(f"{it} {metadata.version(it)}" for it in _PACKAGES)
    print(f"\nCPython {platform.python_version()}, {versions}")


if __name__ == "__main__":
    main()
