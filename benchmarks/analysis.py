"""Compare the analysis with hand-written queries: `python benchmarks/analysis.py [--calls 10M|100M]`.

DuckDB, polars, pandas (benchmarks/by_hand.py) and the toolkit answer each question in turn, each in a separate process.
The script prints seconds and peak memory: the medians of some rounds. Beyond 10 million calls, pandas is left out, and
the data are one simulated month of 10 million calls, repeated and moved in time.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from importlib import import_module, metadata
from pathlib import Path

import by_hand
from side_by_side import interpreter

MONTH, MONTH_DAYS, DAY_NS = 10_000_000, 30, 86_400 * 10**9
QUESTIONS = ("return_codes", "over_time", "latency", "cost", "errors")
TOOLS = ("toolkit", "duckdb", "polars", "pandas")
IMPORTS = {
    "toolkit": ("toolkit.analysis", "toolkit.settings"),
    "duckdb": ("duckdb", "pandas", "phonenumbers.carrier"),
    "polars": ("polars", "pandas", "phonenumbers.carrier"),
    "pandas": ("pandas", "pyarrow.parquet", "phonenumbers.carrier"),
}
TIMEOUT_S = 900


def ask_toolkit(question: str, folder: str) -> object:
    from toolkit import analysis, settings

    calls, every = analysis.read(folder), f"{by_hand.bucket_ns(folder)}ns"
    asked = {
        "return_codes": lambda: analysis.return_codes(calls),
        "over_time": lambda: analysis.over_time(calls, every),
        "latency": lambda: analysis.latency(calls, every=every),
        "cost": lambda: analysis.cost(calls, settings.load_prices(Path(folder) / "prices.toml")),
        "errors": lambda: analysis.errors(calls),
    }
    return asked[question]()


def ask(tool: str, question: str, folder: str) -> None:
    """Answer one question in this process, and print its time and memory without the imports."""
    for name in IMPORTS[tool]:
        import_module(name)
    began_s = time.perf_counter()
    answer = ask_toolkit(question, folder) if tool == "toolkit" else getattr(by_hand, f"{tool}_{question}")(folder)
    took_s = time.perf_counter() - began_s
    # Not getrusage's, which begins with that of the process that this one was forked from.
    peak_kb = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    assert peak_kb
    print(json.dumps({"seconds": took_s, "mb": int(peak_kb[1]) / 1024, "rows": len(answer)}))  # type: ignore[arg-type]


def measure(tool: str, question: str, folder: Path) -> dict[str, float] | None:
    """Run ``ask`` in a separate process; return None if it ended without an answer, e.g. out of memory."""
    command = [sys.executable, __file__, "--ask", tool, question, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        print(f"  {tool} {question}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return dict(json.loads(done.stdout))


def make_data(folder: Path, calls: int) -> Path:
    """Simulate a month of at most 10 million calls; for more calls, repeat the month, moved in time."""
    from toolkit.simulation import SimulationPlan, simulate

    month = folder / f"month-{min(calls, MONTH)}"
    simulate(month, SimulationPlan(calls=min(calls, MONTH)))
    if calls <= MONTH:
        return month
    year = folder / f"months-{calls}"
    for number in range(calls // MONTH):
        repeat_month(month, year, number)
    return year


def repeat_month(month: Path, year: Path, number: int) -> None:
    """Write the days of a month again, some months later, with other messages and mobiles."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    year.mkdir(exist_ok=True)
    (year / "prices.toml").write_bytes((month / "prices.toml").read_bytes())
    for path in sorted(month.glob("calls*.parquet")):
        day = date.fromisoformat(path.stem.removeprefix("calls-")) + timedelta(number * MONTH_DAYS)
        made = year / f"calls-{day}.parquet"
        if made.exists():
            continue
        table = pq.read_table(path)
        for name, plus in (("started_ns", number * MONTH_DAYS * DAY_NS), ("msg_key", number), ("mobile_key", number)):
            moved = pc.add(table[name], pa.scalar(plus, pa.int64()))
            table = table.set_column(table.schema.get_field_index(name), name, moved)
        pq.write_table(table, made.with_suffix(".part"), compression="zstd", row_group_size=500_000)
        made.with_suffix(".part").replace(made)


def show(question: str, found: dict[str, list[dict[str, float]]]) -> None:
    ceiling = statistics.median(it["seconds"] for it in found["duckdb"]) if found.get("duckdb") else None
    cells = []
    for tool in TOOLS:
        rounds = found.get(tool)
        if not rounds:
            cells.append("–")
            continue
        seconds, mb = (statistics.median(it[name] for it in rounds) for name in ("seconds", "mb"))
        ratio = f" {seconds / ceiling:.2f}x" if ceiling and tool == "toolkit" else ""
        cells.append(f"{seconds:.2f}{ratio} ({mb:,.0f})")
    print(f"| {question} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        return ask(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="10M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "smscode-benchmark")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=QUESTIONS)
    given = parser.parse_args()
    calls = int(given.calls.upper().replace("M", "000000").replace("_", ""))
    folder = make_data(given.data, calls)
    tools = TOOLS if calls <= MONTH else TOOLS[:-1]
    print(f"{calls:,} calls, seconds (peak MB); the toolkit's with its ratio to DuckDB by hand\n")
    print(f"| question | {' | '.join(TOOLS)} |\n|---|{'---:|' * len(TOOLS)}")
    for question in given.only:
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(given.rounds):
            for tool in tools:
                if answer := measure(tool, question, folder):
                    found.setdefault(tool, []).append(answer)
        show(question, found)
    names = ("duckdb", "narwhals", "polars", "pandas", "pyarrow")
    print(f"\n{interpreter()}, {', '.join(f'{it} {metadata.version(it)}' for it in names)}")
    return None


if __name__ == "__main__":
    main()
