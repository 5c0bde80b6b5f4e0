"""`smscode simulate`: traffic to explain, without a service."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.cli.output import Json, say, show, show_json

if TYPE_CHECKING:
    from toolkit.simulation import Plan, Written

_LINE_EVERY_S = 1.0  # where stderr is no terminal
_SHOWN = ("kind", "started", "ended", "endpoint", "app_key", "prefix", "calls")


def simulate(
    days: Annotated[int, typer.Option(help="How many UTC days.")] = 30,
    calls: Annotated[str, typer.Option(help="How many calls in all, such as 500k or 10M; within 2 %.")] = "10M",
    seed: Annotated[int, typer.Option(help="Whole number that everything is drawn with.")] = 1,
    start: Annotated[str, typer.Option(help="The first day.")] = "2026-11-01",
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Sends to a mobile that are allowed, such as 1/60s. Repeatable. Default: the API's."),
    ] = None,
    incidents: Annotated[
        str, typer.Option(help="What happens: all, none, or kinds with commas between, such as outage,pumping.")
    ] = "all",
    out: Annotated[
        Path, typer.Option(help="Folder that gets the calls, incidents.json, prices and statements.")
    ] = Path("simulated"),
    as_json: Json = False,
) -> None:
    """Simulate realistic traffic as records of calls, a Parquet file a day, with labelled incidents.

    The same options give the same records. Ctrl-C leaves whole days; the same command goes on from there.
    """
    from toolkit import simulation
    from toolkit.api.rate_rules import DEFAULT_RULES, Rule
    from toolkit.simulation.plan import parse_calls, parse_incidents, parse_start

    rules = tuple(Rule.parse(text) for text in rule or ()) or DEFAULT_RULES
    plan = simulation.Plan(days, parse_calls(calls), seed, parse_start(start), rules, parse_incidents(incidents))
    say(f"Simulating {plan.days} days of {plan.calls:,} calls into {out}. Ctrl-C ends it early.")
    try:
        with _progress(plan) as on_day:
            written = simulation.simulate(out, plan, on_day=on_day)
    except KeyboardInterrupt:
        say(f"Interrupted: {out} has the days that are whole; the same command goes on from there.")
        raise
    say(f"{written.calls:,} calls: {out}")
    _show(written, as_json)


def _show(written: Written, as_json: bool) -> None:
    if as_json:
        show_json({"days": written.days, "calls": written.calls, "incidents": written.incidents})
    elif written.incidents:
        show([{name: it[name] for name in _SHOWN} for it in written.incidents], title="Incidents")


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Written], object]]:
    """Show how far a simulation is: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _line_now_and_then(plan)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=plan.days)
        yield lambda written: bars.update(task, completed=written.days, description=_tell(written, plan))


def _line_now_and_then(plan: Plan) -> Callable[[Written], object]:
    said_s = time.monotonic()

    def line(written: Written) -> None:
        nonlocal said_s
        if time.monotonic() - said_s >= _LINE_EVERY_S:
            said_s = time.monotonic()
            say(_tell(written, plan))

    return line


def _tell(written: Written, plan: Plan) -> str:
    return f"{written.day}  {written.days} of {plan.days} days  {written.calls:,} calls"
