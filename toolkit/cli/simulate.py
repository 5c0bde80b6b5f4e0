"""`smscode simulate`: write simulated traffic with labelled incidents, without a service."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.api import defaults
from toolkit.cli.output import OUTPUT, Json, say, show, show_json

if TYPE_CHECKING:
    from toolkit.simulation import SimulationPlan, SimulationProgress

_TRAFFIC = "Traffic"
_PROGRESS_INTERVAL_S = 1.0  # if stderr is not a terminal
_COLUMNS = ("kind", "started", "ended", "endpoint", "app_key", "prefix", "calls")


def simulate(
    days: Annotated[int, typer.Option(help="Number of UTC days.", metavar="NUMBER", rich_help_panel=_TRAFFIC)] = 30,
    calls: Annotated[
        str,
        typer.Option(
            help="Total number of calls, within 2 %, such as 500k or 10M.", metavar="NUMBER", rich_help_panel=_TRAFFIC
        ),
    ] = "10M",
    seed: Annotated[
        int, typer.Option(help="Seed of the random numbers.", metavar="NUMBER", rich_help_panel=_TRAFFIC)
    ] = 1,
    start: Annotated[str, typer.Option(help="First day.", metavar="DATE", rich_help_panel=_TRAFFIC)] = "2026-11-01",
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="Rate limit of sends to a mobile, such as 1/60s. Repeatable.",
            metavar="COUNT/DURATION",
            show_default=" ".join(defaults.RULES),
            rich_help_panel=_TRAFFIC,
        ),
    ] = None,
    incidents: Annotated[
        str,
        typer.Option(
            help="Incidents to include: all, none, or kinds separated by commas: outage,pumping.",
            metavar="KINDS",
            rich_help_panel=_TRAFFIC,
        ),
    ] = "all",
    growth_per_day: Annotated[
        float,
        typer.Option(
            help="Growth of the traffic from one day to the next, such as 0.003 for 0.3 %.",
            metavar="RATIO",
            rich_help_panel=_TRAFFIC,
        ),
    ] = 0.001,
    vendor_statement: Annotated[
        bool,
        typer.Option(
            "--vendor-statement",
            help="Write statements as vendors in China do, in Beijing time.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the calls, incidents.json, prices and statements.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("simulated"),
    as_json: Json = False,
) -> None:
    """Write simulated traffic as call records, one Parquet file a day, with labelled incidents.

    The same options give the same files. Ctrl-C keeps the complete days; run the same command again to continue.

    Examples:
        $ smscode simulate --days 2 --calls 20k --out small
        Incidents
        kind ...
        ...

        $ smscode simulate --days 2 --calls 20k --incidents none --out quiet --json
        {"days": 2, "calls": ...}

    """
    from toolkit.api.rate_rules import DEFAULT_RULES, Rule
    from toolkit.simulation import SimulationPlan
    from toolkit.simulation import simulate as run_simulation
    from toolkit.simulation.plan import parse_calls, parse_incidents, parse_start

    rules = tuple(Rule.parse(text) for text in rule or ()) or DEFAULT_RULES
    plan = SimulationPlan(
        *(days, parse_calls(calls), seed, parse_start(start), rules, parse_incidents(incidents)),
        growth_per_day=growth_per_day,
        vendor_statement=vendor_statement,
    )
    say(f"Simulating {plan.days} days with {plan.calls:,} calls into {out}. Press Ctrl-C to stop.")
    try:
        with _progress_display(plan) as on_day:
            result = run_simulation(out, plan, on_day=on_day)
    except KeyboardInterrupt:
        say(f"Interrupted: {out} contains the complete days. Run the same command again to continue.")
        raise
    say(f"{result.calls:,} calls: {out}")
    if as_json:
        show_json({"days": result.days, "calls": result.calls, "incidents": result.incidents})
    elif result.incidents:
        show([{name: incident[name] for name in _COLUMNS} for incident in result.incidents], title="Incidents")


@contextmanager
def _progress_display(plan: SimulationPlan) -> Iterator[Callable[[SimulationProgress], object]]:
    """Show the progress: a bar on a terminal, otherwise one line every second."""
    if not sys.stderr.isatty():
        yield _line_printer(plan)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=plan.days)
        yield lambda progress: bars.update(task, completed=progress.days, description=_progress_line(progress, plan))


def _line_printer(plan: SimulationPlan) -> Callable[[SimulationProgress], object]:
    printed_s = time.monotonic()

    def print_line(progress: SimulationProgress) -> None:
        nonlocal printed_s
        if time.monotonic() - printed_s >= _PROGRESS_INTERVAL_S:
            printed_s = time.monotonic()
            say(_progress_line(progress, plan))

    return print_line


def _progress_line(progress: SimulationProgress, plan: SimulationPlan) -> str:
    return f"{progress.day}  {progress.days} of {plan.days} days  {progress.calls:,} calls"
