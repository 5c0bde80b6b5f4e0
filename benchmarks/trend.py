"""Measure the trend's change points and the gate on series whose truth is known: `python benchmarks/trend.py TABLE`.

Each table has a seed and is the same in every run. `all` prints every table. The change points of Apache Otava are
measured on the same series if it is installed: `pip install --no-deps apache-otava`.
"""

import argparse
import inspect
import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from importlib.util import find_spec

import detection_truth
import numpy as np
import numpy.typing as npt
import truth

Row = tuple[str, ...]
Floats = npt.NDArray[np.float64]

_RUNS, _SPREAD, _SHIFT = 60, 0.03, 1.05
_NEAR = 5  # runs between a planted change and the one that is found
_GATES = ("p50(send.caller_ms) by 10%", "p99(send.caller_ms) by 10%", "mean(send.caller_ms) by 10%")
_PACKAGES = ("numpy", "scipy", "pandas", "apache-otava")


def alarms(seed: int, repeats: int) -> Iterator[Row]:
    """Search 60 equal runs with a spread of 3 % for a change.

    Alarm: series with any change. The goal is at most 5 % with bursts.
    """
    yield ("60 equal runs", *(f"alarm, {name}" for name in _SEARCHES))
    for name, make in _NOISE.items():
        series = [make(np.random.default_rng((seed, repeat))) for repeat in range(repeats)]
        yield (name, *(_share([bool(search(it)) for it in series]) for search in _SEARCHES.values()))


def power(seed: int, repeats: int) -> Iterator[Row]:
    """Raise the last runs of 60 by 5 %, for good, with a run-to-run spread of 3 %. The goal is 90 %.

    Found: series with a change. Near: series with one that is at most 5 runs off. Bound: found by the likelihood ratio
    test, which is told the spread, and that the noise is normal and independent. It has the toolkit's alarms in such
    series, 1 %.
    """
    yield (
        "60 runs, of which the last ones are 5 % higher",
        *(f"{of}, {it}" for it in _SEARCHES for of in ("found", "near")),
        "bound",
    )
    equal = 100 * (1 + _SPREAD * np.random.default_rng(seed).normal(size=(20_000, _RUNS)))
    critical = np.quantile(_likelihood_ratio(equal), 0.99)
    for noise in ("independent", "bursts"):
        for after in (45, 30, 20, 15, 10, 6):
            first = _RUNS - after
            raised = np.where(np.arange(_RUNS) < first, 1.0, _SHIFT)
            series = [_NOISE[noise](np.random.default_rng((seed, after, it))) * raised for it in range(repeats)]
            cells = []
            for search in _SEARCHES.values():
                found = [search(it) for it in series]
                cells += [_share([bool(it) for it in found])]
                cells += [_share([any(abs(start - first) <= _NEAR for start in it) for it in found])]
            bound = _share(list(_likelihood_ratio(np.array(series)) > critical)) if noise == "independent" else "–"
            yield (f"{noise}, the last {after}", *cells, bound)


def discoveries(seed: int, repeats: int) -> Iterator[Row]:
    """Search six figures of 60 runs at once, of which some change at one time. Bursts, if any, are in all figures.

    False: the mean share of false changes among those of a report, which is the false-discovery rate: changes more than
    5 runs off, or of another figure. Found: the share of the planted changes that are found.
    """
    from toolkit.analysis.change_detection.lasting_changes import find_lasting_changes

    yield ("figures that change by 5 % at run 30, of 6", "found", "false", "found, bursts", "false, bursts")
    for changing in (0, 1, 3, 6):
        cells = []
        for has_bursts in (False, True):
            found, false = [], []
            for repeat in range(repeats):
                draw = np.random.default_rng((seed, changing, repeat))
                bursts = _burst_factors(draw) if has_bursts else np.ones(_RUNS)
                figures = {it: _independent(draw) * bursts for it in range(6)}
                for it in range(changing):
                    figures[it][30:] *= _SHIFT
                levels = find_lasting_changes({str(it): values.tolist() for it, values in figures.items()})
                starts = [(int(name), change.start) for name, it in levels.items() for change in it.changes]
                right = [it for it in starts if it[0] < changing and abs(it[1] - 30) <= _NEAR]
                found.append(len({name for name, _ in right}) / max(changing, 1))
                false.append((len(starts) - len(right)) / max(len(starts), 1))
            cells += [f"{np.mean(found):.1%}" if changing else "–", f"{np.mean(false):.1%}"]
        yield (str(changing), *cells)


def gate(seed: int, repeats: int) -> Iterator[Row]:
    """Compare two runs of 10 minutes by --fail-if-worse. FAIL: comparisons that fail.

    The goals are at most 5 % for a run that is slower by exactly the limit or less, and 90 % for one that is slower by
    30 % if its calls are independent.
    """
    from toolkit.analysis.change_detection.worsening import find_worsening
    from toolkit.runs.worsening import parse_worsening

    yield ("second run", *(f"FAIL, {it}" for it in _GATES))
    for noise, memory_s in (("independent calls", 0.0), ("latency wanders for 22 s", 22.0)):
        for slower in (1.0, 1.1, 1.2, 1.3, 1.5):
            cells = []
            for repeat in range(repeats):
                draw = np.random.default_rng((seed, repeat))
                runs = [detection_truth._run(draw, 600, 50.0, memory_s, factor) for factor in (1.0, slower)]
                cells.append([find_worsening(*runs, parse_worsening(it)).is_worse for it in _GATES])
            yield (f"{noise}, {slower - 1:.0%} slower", *(f"{share:.0%}" for share in np.mean(cells, axis=0)))


def _likelihood_ratio(series: Floats) -> Floats:
    """Return the largest difference at any boundary of each series, in standard errors."""
    sums = (series / (100 * _SPREAD)).cumsum(axis=1)
    sizes = np.arange(1, _RUNS)
    means = sums[:, :-1] / sizes - (sums[:, -1:] - sums[:, :-1]) / (_RUNS - sizes)
    return np.asarray(np.abs(means * np.sqrt(sizes * (_RUNS - sizes) / _RUNS)).max(axis=1))


def _share(found: list[bool]) -> str:
    return f"{np.mean(found):.1%}"


def _toolkit(series: Floats) -> list[int]:
    from toolkit.analysis.change_detection.lasting_changes import find_lasting_changes

    return [it.start for it in find_lasting_changes({"": series.tolist()})[""].changes]


def _otava(series: Floats) -> list[int]:
    from otava.analysis import compute_change_points

    return [int(it.index) for it in compute_change_points(series.tolist())[0]]


_SEARCHES: dict[str, Callable[[Floats], list[int]]] = {"toolkit": _toolkit}
if find_spec("otava"):
    _SEARCHES["Otava"] = _otava


def _independent(draw: np.random.Generator) -> Floats:
    return np.asarray(100 * (1 + _SPREAD * draw.normal(size=_RUNS)))


def _bursts(draw: np.random.Generator) -> Floats:
    return _independent(draw) * _burst_factors(draw)


def _burst_factors(draw: np.random.Generator) -> Floats:
    """Return the factors of bursts: on average two, of 1 to 5 runs that are 10 to 50 % higher."""
    factors = np.ones(_RUNS)
    for _ in range(draw.poisson(2)):
        start, runs = draw.integers(0, _RUNS), draw.integers(1, 6)
        factors[start : start + runs] *= 1 + draw.uniform(0.1, 0.5)
    return factors


def _heavy_tails(draw: np.random.Generator) -> Floats:
    """Return runs whose noise is Student's t with 3 degrees of freedom."""
    return np.asarray(100 * (1 + _SPREAD / np.sqrt(3) * draw.standard_t(3, _RUNS)))


def _alike(draw: np.random.Generator) -> Floats:
    """Return runs each of which is like the one before it: an autoregressive process with a correlation of 0.3."""
    return 100 * (1 + _SPREAD * np.sqrt(1 - 0.3**2) * truth._ar(draw, _RUNS, 0.3))


_NOISE: dict[str, Callable[[np.random.Generator], Floats]] = {
    "bursts": _bursts,
    "independent": _independent,
    "heavy tails": _heavy_tails,
    "neighbours alike (0.3)": _alike,
}

TABLES = {"alarms": alarms, "power": power, "discoveries": discoveries, "gate": gate}
_REPEATS = {"alarms": 1_000, "power": 200, "discoveries": 100, "gate": 40}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=[*TABLES, "all"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, help=f"repetitions of each row (default {_REPEATS})")
    given = parser.parse_args()
    for name, table in TABLES.items():
        if given.table in (name, "all"):
            repeats = given.repeats or _REPEATS[name]
            print(f"\n## {name}: seed {given.seed}, {repeats} repetitions\n\n{inspect.getdoc(table)}\n")
            truth.show(table(given.seed, repeats))
    installed = {it.name for it in metadata.distributions()}
    versions = ", ".join(f"{it} {metadata.version(it)}" for it in _PACKAGES if it in installed)
    print(f"\nCPython {platform.python_version()}, {versions}")


if __name__ == "__main__":
    main()
