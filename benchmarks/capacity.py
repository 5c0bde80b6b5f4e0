"""Measure the search for the capacity on planted servers: `python benchmarks/capacity.py TABLE [--seed N]`.

`coverage` and `doubts` run in virtual time: the search that `smscode load --find-capacity` uses gets its trials from
simulated queues. `real` runs `smscode load --find-capacity` against planted_server.py, which takes about half an hour.
"""

import argparse
import inspect
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from planted_server import FAST_TIMES, NOISE_MEMORY, SLOW_SHARE, SLOW_TIMES, SPEED_NOISE, STALL_EVERY_S, STALL_S

from toolkit.load_test.plan.capacity_search import Conclusion, Doubt, NextTrial, SearchPlan, Trial, decide
from toolkit.load_test.plan.trial_evidence import TrialCalls, measure
from toolkit.runs.thresholds import Threshold, parse_threshold

Row = tuple[str, ...]
Floats = npt.NDArray[np.float64]

_LONG_S, _SHORT_S, _WARM_UP_S = 120.0, 15.0, 5.0
_START = 50.0
_TRUTH_S, _TRUTH_RUNS, _COARSE, _FINE = 600.0, 6, 5, 7
_LATE_S, _MAX_LATE = 0.02, 0.01  # as results.bottleneck has them
_MAX_RATE_LIMITED = 0.01  # as find_capacity has it
_REAL_PER_S, _REAL_TIMES, _REAL_LONG_S = (150.0, 400.0), (20.0, 60.0), 90.0
_REAL_MAX_BOTTLENECK = "10%"  # a shared machine begins some arrivals 5 ms late, a tenth of a limit at most
_REAL_TRUTH_RUNS, _REAL_AT_ONCE, _REAL_BOUND = 400, 8, 3  # searches, and those for each bound


@dataclass(frozen=True, slots=True)
class Server:
    """A queue before one server.

    Args:
        per_s: Sends per second that it can work off.
        shape: Distribution of its service times.
        is_noisy: Whether its speed wanders by 3 % from second to second.
        stalls: Whether it stalls for 20 ms, every 5 s on average.
        limit_ms: The p99 to keep.
        is_poisson: Whether arrivals are a Poisson process, else they are evenly spaced.
        generator_per_s: Arrivals per second that the load generator can start.
        rate_limit_per_s: Sends per second above which it refuses.
    """

    per_s: float
    shape: str
    is_noisy: bool
    stalls: bool
    limit_ms: float
    is_poisson: bool
    generator_per_s: float = math.inf
    rate_limit_per_s: float = math.inf

    @property
    def name(self) -> str:
        """The kind of server, for a table."""
        return " ".join([self.shape, *(["noise"] if self.is_noisy else []), *(["stalls"] if self.stalls else [])])

    @property
    def limit(self) -> Threshold:
        """The limit that is searched."""
        return parse_threshold(f"p99(send.caller_ms) < {self.limit_ms:.1f}")


def play(server: Server, per_s: float, length_s: float, draw: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Return the arrivals of a load in s, how long each was late in s, and what its caller waited in ms."""
    count = max(1, int(per_s * length_s))
    due = np.cumsum(draw.exponential(1 / per_s, count)) if server.is_poisson else np.arange(count) / per_s
    late = (
        _queue(due, np.full(count, 1 / server.generator_per_s)) - due if server.generator_per_s < math.inf else due * 0
    )
    begun = due + late
    kept = _admitted(begun, server.rate_limit_per_s)
    times = _service_times(server, draw, count)
    if server.is_noisy:
        times = times * _speeds(draw, begun)
    if server.stalls:
        at = np.searchsorted(begun, np.cumsum(draw.exponential(STALL_EVERY_S, int(length_s) + 9)))
        np.add.at(times, at[at < count], STALL_S)
    waited = np.full(count, np.nan)
    waited[kept] = _queue(begun[kept], times[kept]) - due[kept]
    return due, late, waited * 1e3


def _queue(arrived: Floats, times: Floats) -> Floats:
    """Return when each of a queue's calls is done (Lindley's recursion)."""
    work = np.cumsum(times)
    return np.asarray(work + np.maximum.accumulate(arrived - (work - times)))


def _admitted(at: Floats, per_s: float) -> npt.NDArray[np.bool_]:
    """Return which sends a token bucket of a second admits."""
    if per_s == math.inf:
        return np.full(at.shape, True)
    kept, tokens, before = np.full(at.shape, True), per_s, 0.0
    for number, now in enumerate(at):
        tokens, before = min(per_s, tokens + per_s * (now - before)), now
        kept[number] = tokens >= 1
        tokens -= kept[number]
    return kept


def _service_times(server: Server, draw: np.random.Generator, count: int) -> Floats:
    mean_s = 1 / server.per_s
    match server.shape:
        case "exponential":
            return draw.exponential(mean_s, count)
        case "lognormal":
            return mean_s * draw.lognormal(-0.5, 1.0, count)
        case "bimodal":
            return mean_s * np.where(draw.random(count) < SLOW_SHARE, SLOW_TIMES, FAST_TIMES)
    return np.full(count, mean_s)


def _speeds(draw: np.random.Generator, begun: Floats) -> Floats:
    seconds = begun.astype(np.int64)
    noise = draw.normal(size=int(seconds.max()) + 1)
    for second in range(1, len(noise)):
        noise[second] = NOISE_MEMORY * noise[second - 1] + math.sqrt(1 - NOISE_MEMORY**2) * noise[second]
    return np.exp(SPEED_NOISE * noise[seconds])


def truth_per_s(
    server: Server, seed: int, length_s: float = _TRUTH_S, warm_up_s: float = 0.0, runs: int = _TRUTH_RUNS
) -> float:
    """Return the rate at which 1 % of the sends of many trials take too long, by bisection.

    Just above the capacity a queue grows slowly, so longer trials miss more.
    """
    low, high = server.per_s / 4, server.per_s * 1.02
    for count in [math.ceil(runs / _TRUTH_RUNS)] * _COARSE + [runs] * _FINE:
        rate, found = math.sqrt(low * high), []
        for run in range(count):
            due, _, waited_ms = play(server, rate, warm_up_s + length_s, np.random.default_rng((seed, run)))
            found.append(waited_ms[due >= warm_up_s])
        low, high = (rate, high) if np.mean(np.concatenate(found) >= server.limit_ms) < 0.01 else (low, rate)
    return math.sqrt(low * high)


def search(server: Server, seed: int) -> tuple[Conclusion, list[Trial]]:
    """Search a server's capacity in virtual time."""
    draw, trials = np.random.default_rng(seed), list[Trial]()
    plan = SearchPlan(_START, _LONG_S, _SHORT_S)
    while isinstance(step := decide(plan, trials), NextTrial):
        trials.append(_run(server, step, draw))
    return step, trials


def _run(server: Server, step: NextTrial, draw: np.random.Generator) -> Trial:
    length_s = _LONG_S if step.is_long else _SHORT_S
    due, late, waited_ms = play(server, step.load, _WARM_UP_S + length_s, draw)
    counted = due >= _WARM_UP_S
    refused = np.isnan(waited_ms)
    kept = counted & ~refused
    times, words = waited_ms[kept], np.full(int(kept.sum()), "send")
    calls = TrialCalls(
        due[kept] - _WARM_UP_S, words, np.full(len(times), "50000"), times, times, times < 0, length_s, len(due)
    )
    trial = Trial(step.load, length_s, step.is_long, (measure(server.limit, calls),), messages=len(due))
    if np.mean(refused[counted]) > _MAX_RATE_LIMITED:
        return replace(trial, doubt=Doubt.RATE_LIMIT, doubt_text="refused by a rate limit")
    if np.mean(late > _LATE_S) > _MAX_LATE:
        return replace(trial, doubt=Doubt.GENERATOR, doubt_text="begun late")
    return trial


def plant(
    seed: int, number: int, per_s: tuple[float, float] = (300, 3000), times: tuple[float, float] = (20, 100)
) -> Server:
    """Draw a server: its sends per second, and the p99 to keep in service times."""
    draw = np.random.default_rng((seed, number))
    shape = ("exponential", "constant", "lognormal", "bimodal")[number % 4]
    speed, limit = (float(np.exp(draw.uniform(math.log(low), math.log(high)))) for low, high in (per_s, times))
    stalls = number % 5 == 4
    limit_ms = 1e3 * (limit / speed + (1.5 * STALL_S if stalls else 0.0))
    return Server(speed, shape, number % 3 == 2, stalls, round(limit_ms, 1), number % 2 == 0)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one search of the table ``coverage``. Ramp: messages of the linear ramp."""

    name: str
    has_figure: bool
    is_settled: bool
    is_inside: bool
    width_ratio: float
    messages: int
    ramp: float
    trials: int


def _cover(seed: int, number: int) -> Found:
    server = plant(seed, number)
    truth = truth_per_s(server, seed)
    conclusion, trials = search(server, 1_000 * seed + number)
    interval, messages = conclusion.interval, sum(it.messages for it in trials)
    if interval is None:
        return Found(server.name, False, False, False, math.nan, messages, math.nan, len(trials))
    held, missed = interval.held.load, interval.missed.load
    at_borders_s = sum(it.duration_s + _WARM_UP_S for it in trials if it.load in (held, missed)) / 2
    ramp = _ramp(held, missed, truth, at_borders_s)
    is_inside = held <= truth <= missed
    return Found(server.name, True, conclusion.is_settled, is_inside, interval.width_ratio, messages, ramp, len(trials))


def _ramp(held: float, missed: float, truth: float, step_s: float) -> float:
    """Return the messages of a linear ramp: steps as wide as an interval, up to the first above the truth."""
    step = missed - held
    return sum(step * number * step_s for number in range(1, math.ceil(truth / step) + 1))


def coverage(seed: int, repeats: int) -> Iterator[Row]:
    """Search planted servers, whose true capacity is known from an hour of virtual time at each rate.

    Inside: the truth is in the interval. Settled: the interval is at most 5 % wide. Messages: of all searches, as a
    share of a linear ramp to the same width: steps as wide as the interval, up to the first above the truth, each held
    for as long as the search held one of its borders. Servers: exponential, constant, log-normal and bimodal service
    times; a third with a speed that wanders, a fifth with stalls; half with Poisson arrivals.
    """
    yield ("server", "searches", "figures", "inside", "settled", "width, median", "messages / ramp", "trials")
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(_cover, [seed] * repeats, range(repeats)))
    names = [*sorted({it.name.split()[0] for it in found}), "noise", "stalls", ""]
    for name in names:
        group = [it for it in found if name in it.name.split() or not name]
        figures = [it for it in group if it.has_figure]
        share = sum(it.messages for it in figures) / sum(it.ramp for it in figures)
        yield (
            name or "**all**",
            f"{len(group)}",
            f"{len(figures)}",
            f"{sum(it.is_inside for it in figures)}",
            f"{sum(it.is_settled for it in group)}",
            f"{np.median([it.width_ratio for it in figures]):.1%}",
            f"{share:.2f}",
            f"{np.mean([it.trials for it in group]):.0f}",
        )


def doubts(seed: int, repeats: int) -> Iterator[Row]:
    """Search servers whose capacity can't be reached: by a slow load generator, and by a rate limit.

    Both are drawn between 40 and 95 % of the true capacity. The generator starts its arrivals one after the other, so
    near its own limit it is late by less than is found out. Figures: searches that gave one. It must be none.
    """
    yield ("bound", "searches", "figures", "named the cause")
    for name in ("generator", "rate limit"):
        figures = named = 0
        for number in range(repeats // 2):
            server = plant(seed, number)
            bound = truth_per_s(server, seed) * np.random.default_rng((seed, number, 1)).uniform(0.4, 0.95)
            field = "generator_per_s" if name == "generator" else "rate_limit_per_s"
            conclusion, _ = search(replace(server, **{field: float(bound)}), number)
            figures += conclusion.interval is not None
            named += conclusion.doubt is not None and conclusion.doubt.value == name
        yield (name, f"{repeats // 2}", f"{figures}", f"{named}")


@dataclass(frozen=True, slots=True)
class RealSearch:
    """A search with real sockets. Bound: what its server or its load generator is held back by, "" for nothing."""

    number: int
    server: Server
    truth: float
    bound: str = ""
    bound_per_s: float = math.inf

    def run(self) -> dict[str, Any]:
        """Search with the command line, and return the content of capacity.json."""
        server, here = self.server, Path(__file__).parent
        command = [sys.executable, str(here / "planted_server.py"), "--shape", server.shape]
        command += ["--mean-ms", f"{1e3 / server.per_s}", "--seed", f"{self.number}"]
        command += ["--noise"] * server.is_noisy + ["--stalls"] * server.stalls
        if self.bound == "rate limit":
            command += ["--rate-limit", f"{self.bound_per_s}"]
        load = [sys.executable, "-m", "toolkit", "load", str(here / "planted_load.py"), "--find-capacity", "--json"]
        load += ["--rate", f"{_START:g}", "--duration", f"{_REAL_LONG_S:g}s", "--warm-up", f"{_WARM_UP_S:g}s"]
        load += ["--arrivals", "poisson" if server.is_poisson else "constant", "--seed", f"{1000 * self.number}"]
        load += ["--limit", str(server.limit), "--max-bottleneck", _REAL_MAX_BOTTLENECK]
        if self.bound == "generator":
            load += ["--", "--own-ms", f"{1e3 / self.bound_per_s}"]
        with (
            tempfile.TemporaryDirectory() as folder,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
        ):
            assert process.stdout
            target = {"SMSCODE_BASE_URL": process.stdout.readline().strip(), "SMSCODE_APP_KEY": "key"}
            target |= {"SMSCODE_MASTER_SECRET": "secret", "SMSCODE_TEMP_ID": "1"}
            try:
                done = subprocess.run(load, env=os.environ | target, cwd=folder, capture_output=True, text=True)
            finally:
                process.terminate()
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def real(seed: int, repeats: int) -> Iterator[Row]:
    """Search planted servers over sockets, with the command line and locust, eight at a time.

    Servers: those of ``coverage``, with 150 to 400 sends per second, and with times that are waited for, not worked. So
    they need little of a shared machine. Truth: the same queue in virtual time, in ten hours of trials of the same
    length. Three more have a rate limit, and three a load generator that needs time of its own for each journey, both
    at 40 to 95 % of the true capacity: they must give no figure.
    """
    yield ("server", "limit, ms", "truth", "answer", "inside", "settled", "width", "messages / ramp", "trials")
    searches = []
    for number in range(repeats):
        server = plant(seed, number, _REAL_PER_S, _REAL_TIMES)
        searches.append(
            RealSearch(number, server, truth_per_s(server, seed, _REAL_LONG_S, _WARM_UP_S, _REAL_TRUTH_RUNS))
        )
    for bound in ("rate limit", "generator"):
        for number, it in enumerate(searches[: min(repeats, _REAL_BOUND)]):
            per_s = it.truth * float(np.random.default_rng((seed, number, 1)).uniform(0.4, 0.95))
            searches.append(replace(it, bound=bound, bound_per_s=per_s))
    messages = ramps = 0.0
    with ThreadPoolExecutor(_REAL_AT_ONCE) as pool:
        for it, found in zip(searches, pool.map(RealSearch.run, searches), strict=True):
            share, inside, width = "", "", ""
            if capacity := found["capacity"]:
                held, missed = capacity["held"], capacity["missed"]
                at_borders = [trial for trial in found["trials"] if trial["load"] in (held, missed)]
                step_s = sum(trial["duration_s"] + _WARM_UP_S for trial in at_borders) / 2
                ramp = _ramp(held, missed, it.truth, step_s)
                messages, ramps = messages + found["messages"], ramps + ramp
                share, width = f"{found['messages'] / ramp:.2f}", f"{capacity['width_ratio']:.1%}"
                inside = "yes" if held <= it.truth <= missed else "no"
            truth = f"{it.bound} of {it.bound_per_s:.0f}/s" if it.bound else f"{it.truth:.0f}/s"
            name = f"{it.server.name}{' poisson' if it.server.is_poisson else ''}"
            why = _doubts(found) if it.bound else found["unsettled"]
            answer = found["answer"] if capacity else f"no figure: {why}"
            settled = "yes" if found["is_settled"] else "no"
            yield (
                name, f"{it.server.limit_ms:g}", truth, answer, inside, settled, width, share, f"{len(found['trials'])}"
            )  # fmt: skip
    yield ("all", "", "", "", "", "", "", f"{messages / ramps:.2f}" if ramps else "", "")


def _doubts(found: dict[str, Any]) -> str:
    """Return the doubts of a search's trials."""
    return ", ".join(sorted({it["doubt"] for it in found["trials"] if it["doubt"]})) or "none"


TABLES: dict[str, Callable[[int, int], Iterator[Row]]] = {"coverage": coverage, "doubts": doubts, "real": real}
_REPEATS = {"coverage": 100, "doubts": 50, "real": 10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, help="searches (default 100, 50 and 10)")
    given = parser.parse_args()
    repeats = given.repeats or _REPEATS[given.table]
    print(f"\n## {given.table}: seed {given.seed}, {repeats} searches\n\n{inspect.getdoc(TABLES[given.table])}\n")
    rows = TABLES[given.table](given.seed, repeats)
    header = next(rows)
    print(f"| {' | '.join(header)} |\n|---|{'---:|' * (len(header) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    versions = ", ".join(f"{it} {metadata.version(it)}" for it in ("numpy", "scipy"))
    print(f"\nCPython {platform.python_version()}, {versions}")


if __name__ == "__main__":
    main()
