"""Measure the replay of recorded sends through other rules: `python benchmarks/what_if.py [equality|speed]`.

``equality`` plays a million sends against a SQLite store with the same rules, and compares each decision. The sends are
random, from a seed. ``speed`` replays a simulated month of 10 million calls, or months of ``--calls 100M``, and prints
seconds and the peak memory of each step, in a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH = 5_000
MAX_SWEPT = 10_000_000  # sends
RULE_SETS = ("1/60s 5/3600s 10/86400s", "1/30s 3/3600s", "1/7s", "20/600s 3/10s")
TRIED = ("1/60s 5/3600s 10/86400s", "1/30s 3/3600s", "1/120s 5/3600s")
SWEPT = ([1, 2, 3, 5, 10], [30, 60, 300, 3600, 86_400])


def random_sends(count: int, mobiles: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return times in ms, ascending, and mobiles: some busy, most rare; times often at the ends of windows."""
    steps_ms = rng.choice(
        [0, 1, 2, 40, 999, 1_000, 7_000, 30_000], count, p=[0.3, 0.2, 0.2, 0.2, 0.04, 0.04, 0.01, 0.01]
    )
    return 1_700_000_000_000 + np.cumsum(steps_ms), (rng.random(count) ** 3 * mobiles).astype(np.int64)


def decide_in_store(path: Path, rules: str, times_ms: np.ndarray, mobiles: np.ndarray) -> np.ndarray:
    """Send to each mobile at its time through a store with the rules; return whether each send was accepted."""
    from toolkit.api.rate_rules import parse_rules
    from toolkit.api.return_codes import ReturnCode
    from toolkit.service.core.accounts import App, Template
    from toolkit.service.core.messages import NewMessage
    from toolkit.service.core.policy import Policy
    from toolkit.service.stores.sqlite.store import SqliteStore

    now_ms = [int(times_ms[0])]

    async def play() -> np.ndarray:
        store = SqliteStore.open(path, Policy(parse_rules(rules)), 1.0, lambda: now_ms[0], lambda: now_ms[0], 600.0)
        app, template = App(1, "key", store.digests.secret("secret")), Template(1, 1, "code {code}", 300)
        await store.put(app=app, credit=10**9, template=template)
        accepted, waiting = [], []
        for time_ms, mobile in zip(times_ms.tolist(), mobiles.tolist(), strict=True):
            now_ms[0] = time_ms
            waiting.append(store.send(NewMessage(1, 13_000_000_000 + mobile, 1, "123456", 300_000, 1)))
            if len(waiting) == BATCH:  # many decisions share a commit
                accepted += [(await it).return_code is ReturnCode.SUCCESS for it in waiting]
                waiting.clear()
        accepted += [(await it).return_code is ReturnCode.SUCCESS for it in waiting]
        await store.close()
        return np.array(accepted)

    return asyncio.run(play())


def decide_by_replay(rules: str, times_ms: np.ndarray, mobiles: np.ndarray) -> np.ndarray:
    """Return the same decisions by the replay."""
    from toolkit.analysis.other_rules.replay import SortedSends, replay
    from toolkit.api.rate_rules import parse_rules

    order = np.lexsort((np.arange(len(mobiles)), times_ms, mobiles))
    sorted_mobiles, everything = mobiles[order], np.ones(len(mobiles), np.bool_)
    is_first = np.concatenate([[True], sorted_mobiles[1:] != sorted_mobiles[:-1]])
    sent = replay(
        parse_rules(rules), SortedSends(is_first, times_ms[order], everything, everything), 0
    ).as_recorded.sent
    decided = np.zeros(len(mobiles), np.bool_)
    decided[order] = sent
    return decided


def equality(sends: int) -> None:
    """Print the number of decisions in which the replay differs from a store."""
    times_ms, mobiles = random_sends(sends, sends // 20, np.random.default_rng(1))
    print("| rules | sends | refused by the store | decisions that differ | store s | replay s |")
    print("|---|---:|---:|---:|---:|---:|")
    for rules in RULE_SETS:
        with tempfile.TemporaryDirectory() as folder:
            began_s = time.perf_counter()
            expected = decide_in_store(Path(folder) / "store", rules, times_ms, mobiles)
        middle_s = time.perf_counter()
        found = decide_by_replay(rules, times_ms, mobiles)
        took = middle_s - began_s, time.perf_counter() - middle_s
        refused, differ = int((~expected).sum()), int((found != expected).sum())
        print(f"| {rules} | {sends:,} | {refused:,} | {differ:,} | {took[0]:.0f} | {took[1]:.2f} |", flush=True)
        if differ or not refused:
            raise SystemExit("the replay differs from the store, or nothing was refused")


def ask(folder: str, finds_abuse: bool) -> None:
    """Replay a folder in this process, and print the seconds and the peak memory of each step."""
    from toolkit import analysis
    from toolkit.settings import load_prices

    steps: list[tuple[str, float, float, float]] = []
    began = time.perf_counter(), time.process_time()

    def step(name: str) -> None:
        nonlocal began
        now = time.perf_counter(), time.process_time()
        peak_kb = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        assert peak_kb
        steps.append((name, now[0] - began[0], now[1] - began[1], int(peak_kb[1]) / 1024))
        began = now

    calls, prices = analysis.read(folder), load_prices(Path(folder) / "prices.toml")
    step("read")
    sends = analysis.recorded_sends(calls, find_abuse=finds_abuse)
    step("load and sort the sends" + (", find abuse" if finds_abuse else ""))
    analysis.what_if(sends, [analysis.RuleSet.parse(it) for it in TRIED], prices)
    step(f"{len(TRIED)} rule sets")
    if not finds_abuse and len(sends) < MAX_SWEPT:
        analysis.what_if_sweep(sends, *SWEPT, prices=prices)
        step(f"sweep of {len(SWEPT[0]) * len(SWEPT[1])} rules")
    print(json.dumps(steps))


def speed(calls: int, data: Path) -> None:
    """Print a table for a month of calls, or for repeated months."""
    from analysis import make_data

    folder = make_data(data, calls)
    print(f"{calls:,} calls\n\n| step | s | CPU s | peak MB |\n|---|---:|---:|---:|")
    for finds_abuse in (False, True):
        command = [sys.executable, __file__, "--ask", str(folder), str(int(finds_abuse))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for name, wall_s, cpu_s, peak_mb in json.loads(done.stdout.splitlines()[-1]):
            print(f"| {name} | {wall_s:.1f} | {cpu_s:.1f} | {peak_mb:,.0f} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2], sys.argv[3] == "1")
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", choices=("equality", "speed"), help="default: both")
    parser.add_argument("--calls", default="10M", help="of speed: 10M or a multiple")
    parser.add_argument("--sends", type=int, default=1_000_000, help="of equality")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "smscode-benchmark")
    given = parser.parse_args()
    if given.table != "speed":
        equality(given.sends)
    if given.table != "equality":
        speed(int(given.calls.upper().replace("M", "000000").replace("_", "")), given.data)


if __name__ == "__main__":
    main()
