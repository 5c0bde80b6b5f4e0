"""Probe simulated limiters, the service and two limiters of other projects: `python benchmarks/probe.py`.

- `simulated`: 200 seeds from `--first-seed`; one to three rules of all kinds, responses of some 40 ms. No request is
  sent. Prints each limiter of which a rule was missed or invented, and how often rules are right by stated confidence.
- `service`: sandboxes whose clock runs faster, over HTTP.
- `independent`: `limits` and `pyrate-limiter` behind a small server, in real time. Needs both packages.
- `log`: whether the analysis of a log tells fixed from sliding windows.

A rule counts as right if scope, kind and count are right, and the window is exact or within bounds at most a tenth
apart. A rule counts as reached if there was a time at which it alone refused sends, and a later one at which it
accepted one. A probe may use three times the sum of the counts of the limiter's rules, at least 5 messages, and 3.3
times the longest window.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from support.limited import Clock, FirstSend, Rule, Sliding, decide, hammered
from support.probed import Run, draw, is_shadowed, probe, wrong_rules

from toolkit.analysis import limits as infer
from toolkit.client import Client
from toolkit.load_test.launch.sandbox_process import sandbox
from toolkit.probe.findings import Findings, conclude
from toolkit.probe.planner import Planner
from toolkit.probe.prober import TargetClock, run_probe
from toolkit.settings import Target

MOBILES = [f"138001380{it:02}" for it in range(6)]
CONFIDENCES = {"99 to 100 %": 0.99, "90 to 99 %": 0.9, "50 to 90 %": 0.5, "below 50 %": 0.0}


def probe_seed(seed: int) -> tuple[Run, float]:
    """Probe the limiter of a seed; return the run and its CPU time in s."""
    began_s = time.process_time()
    return probe(draw(seed), seed), time.process_time() - began_s


def simulated(seeds: range, workers: int) -> None:
    by_kind: dict[str, list[bool]] = defaultdict(list)
    calibration: dict[str, list[tuple[float, bool]]] = {it: [] for it in CONFIDENCES}
    ratios, cpu_s, wrong, unreached, failed, shadowed = [], [], 0, 0, [], []
    with ProcessPoolExecutor(workers) as pool:
        for seed, (run, took_s) in zip(seeds, pool.map(probe_seed, seeds), strict=True):
            missed = 0
            for number, rule in enumerate(run.limiter.rules):
                if not run.reached[number]:
                    unreached += 1
                    continue
                by_kind[type(rule).__name__].append(run.is_right[number])
                if not run.is_right[number]:
                    missed += 1
                    if is_shadowed(run, number):
                        shadowed.append((seed, str(rule)))
            not_there = wrong_rules(run)
            if not_there or missed:
                failed.append(seed)
                found = "; ".join(f"{it} [{it.confidence:.0%}]" for it in run.findings.rules)
                print(f"seed {seed}: {run.limiter} | found: {found}", flush=True)
            for found in run.findings.rules:
                if found.window_s:
                    label = next(it for it, least in CONFIDENCES.items() if found.confidence >= least)
                    calibration[label].append((found.confidence, found not in not_there))
            wrong += len(not_there)
            ratios.append(run.findings.messages / run.limiter.limit)
            cpu_s.append(took_s)
    print(f"\n{'kind':<14}{'reached':>8}{'right':>8}{'share':>8}")
    every = [it for right in by_kind.values() for it in right]
    for kind, right in [*sorted(by_kind.items()), ("all", every)]:
        print(f"{kind:<14}{len(right):>8}{sum(right):>8}{sum(right) / len(right):>8.1%}")
    told = len(every) - len(shadowed)
    print(f"{'told apart':<14}{told:>8}{sum(every):>8}{sum(every) / told:>8.1%}")
    print(
        f"{len(shadowed)} rules that no sender can tell from the one found, since a longer rule hides them: {shadowed}"
    )
    print(f"\n{'confidence':<14}{'rules':>8}{'stated':>8}{'right':>8}")
    for label, rules in calibration.items():
        if rules:
            stated, right = (statistics.fmean(it) for it in zip(*rules, strict=True))
            print(f"{label:<14}{len(rules):>8}{stated:>8.1%}{right:>8.1%}")
    print(f"not reached: {unreached} rules; found but not there: {wrong} rules; failed seeds: {failed}")
    print(f"messages / limit: median {statistics.median(ratios):.1f}, highest {max(ratios):.1f}")
    print(f"CPU time of a probe: median {statistics.median(cpu_s) * 1000:.0f} ms, highest {max(cpu_s) * 1000:.0f} ms")


def probe_target(target: Target, max_messages: int, duration_s: float, speed: float = 1.0) -> Findings:
    clock = TargetClock(speed)
    planner = Planner(len(MOBILES), max_messages, clock.started_s + duration_s * speed, seeks_app=False)
    with Client(target.base_url, target.app_key, target.master_secret) as client:
        run_probe(planner, MOBILES, partial(client.send_code, temp_id=target.temp_id), clock)
    return conclude(planner, clock.now() - clock.started_s)


def show(name: str, findings: Findings) -> None:
    print(f"{name:<42} {findings.messages:>3} messages, {findings.refused:>3} refused: ", end="")
    print("; ".join(f"{it} [{it.confidence:.0%}]" for it in findings.rules) or "no rule", flush=True)


def service() -> None:
    for speed, rules, messages in ((1, ["2/4s"], 6), (60, ["1/60s", "3/300s"], 12), (600, ["2/3600s"], 6)):
        options = [it for rule in rules for it in ("--rule", rule)]
        with sandbox("--speed", str(speed), *options) as target:
            show(f"sandbox {' '.join(rules)}, speed {speed}", probe_target(target, messages, 60, speed))


@contextmanager
def limited_server(allows: Callable[[str], bool]) -> Iterator[Target]:
    """Serve the API's send behind a limiter, which is asked with the mobile."""
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        sends = 0

        def do_POST(self) -> None:
            mobile = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["mobile"]
            with lock:
                Handler.sends += 1
                is_ok = allows(str(mobile))
            answer = {"msg_id": str(Handler.sends)} if is_ok else {"error": {"code": 50009, "message": "out of freq"}}
            body = json.dumps(answer).encode()
            self.send_response(200 if is_ok else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Target(f"http://127.0.0.1:{server.server_port}", "key", "secret")
    finally:
        server.shutdown()
        server.server_close()


def independent() -> None:
    import limits
    import pyrate_limiter

    storage = limits.storage.MemoryStorage()
    moving, fixed = (
        limits.strategies.MovingWindowRateLimiter(storage),
        limits.strategies.FixedWindowRateLimiter(storage),
    )
    per_20s, per_30s = limits.parse("4 per 20 second"), limits.parse("4 per 30 second")
    buckets: dict[str, pyrate_limiter.Limiter] = {}

    def ask_pyrate(mobile: str) -> bool:
        if mobile not in buckets:
            rates = [pyrate_limiter.Rate(2, 10_000), pyrate_limiter.Rate(4, 60_000)]
            buckets[mobile] = pyrate_limiter.Limiter(pyrate_limiter.InMemoryBucket(rates))
        return bool(buckets[mobile].try_acquire(mobile, blocking=False))

    for name, allows, messages in (
        ("limits, moving window, 4/20s", lambda mobile: moving.hit(per_20s, "moving", mobile), 12),
        ("limits, fixed window, 4/30s", lambda mobile: fixed.hit(per_30s, "fixed", mobile), 12),
        ("pyrate-limiter, 2/10s 4/60s", ask_pyrate, 18),
    ):
        with limited_server(allows) as target:
            show(name, probe_target(target, messages, 150))


def log() -> None:
    """Infer the shape of one rule from logs of sends to mobiles that press often."""
    print(f"{'rule':<30}{'right':>6}{'undecided':>11}{'other shape':>13}{'no rule':>9}")
    cases: list[tuple[Rule, str]] = [
        (it(count, window_s), shape)
        for it, shape in ((Sliding, "sliding"), (Clock, "clock"), (FirstSend, "first send"))
        for count, window_s in ((3, 60), (5, 3600))
    ]
    for rule, shape in cases:
        seen: list[str] = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            tries = hammered(rng, range(20), rule.window_s / 7, rule.window_s / 360)
            found = infer(decide(tries, lambda _, __, rule=rule: [rule], rng))
            row = found[(found["max_sends"] == rule.count) & (found["window_s"] == rule.window_s)]
            seen.append(str(row["window_shape"].iloc[0]) if len(row) else "")
        counts = seen.count(shape), seen.count("undecided"), seen.count("")
        other = len(seen) - sum(counts)
        name = f"{type(rule).__name__} {rule.count}/{rule.window_s}s"
        print(f"{name:<30}{counts[0]:>6}{counts[1]:>11}{other:>13}{counts[2]:>9}")


if __name__ == "__main__":
    parts = {"simulated": None, "service": service, "independent": independent, "log": log}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=list(parts))
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for part in options.parts:
        print(f"\n# {part}")
        run = parts[part]
        run() if run else simulated(range(options.first_seed, options.first_seed + options.seeds), options.workers)
