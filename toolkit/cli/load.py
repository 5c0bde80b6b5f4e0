"""`smscode load`: load an API, and say what happened."""

from __future__ import annotations

import gc
import secrets
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.api.durations import EXAMPLES
from toolkit.api.errors import InputError
from toolkit.cli.output import NO_ANSWER, REFUSED, USAGE, Json, fail, say
from toolkit.cli.send_verify import AppKey, BaseUrl, TempId
from toolkit.cli.show_result import exit_by, show_result
from toolkit.runs.remote_storage import check, is_url, push
from toolkit.runs.run_folder import Cause

if TYPE_CHECKING:
    from toolkit.load_test.launch.locust_process import Ended, LoadRun, Plan
    from toolkit.report.run_result import Summary
    from toolkit.runs.arrival_counts import Pacer, Rate
    from toolkit.runs.progress import Progress
    from toolkit.settings import Price, Target

_USERS, _DURATION = 20, "10s"
_LINE_EVERY_S = 1.0  # where stderr is no terminal


class Arrivals(StrEnum):
    """How the journeys of a rate arrive."""

    CONSTANT = "constant"
    POISSON = "poisson"


def load(
    scenario: Annotated[
        str, typer.Argument(help="Name of a locustfile of ./locustfiles or the toolkit's, or a path.")
    ] = "throughput",
    target: BaseUrl = None,
    app_key: AppKey = None,
    temp_id: TempId = None,
    users: Annotated[
        int | None, typer.Option(min=1, help=f"People at once, each with a connection of its own. Default: {_USERS}.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(help="Journeys begun a second, whatever the answers do. Default: users set the pace."),
    ] = None,
    stages: Annotated[
        str | None,
        typer.Option(
            help='The rate over time: "30s@500" ramps to 500/s, "2m=500" holds it, "10m~500+-300/2m" swings about it;'
            " with commas between. Default: one rate, or users."
        ),
    ] = None,
    arrivals: Annotated[Arrivals, typer.Option(help="How journeys arrive at a rate.")] = Arrivals.CONSTANT,
    max_connections: Annotated[int, typer.Option(min=1, help="Connections of each worker, at a rate.")] = 500,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the load.")] = 1,
    duration: Annotated[
        str | None,
        typer.Option(help=f"How long new calls are begun, {EXAMPLES}. Default: {_DURATION}, or the stages'."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Whole number that mobiles are drawn with. Default: a random one.")
    ] = None,
    out: Annotated[
        str,
        typer.Option(help="Folder, or a URL as s3://..., that gets a folder of this run, named by its UTC time."),
    ] = "runs",
    allow_target: Annotated[
        list[str] | None,
        typer.Option(help="Host other than this machine that may be loaded: every message may cost money. Repeatable."),
    ] = None,
    i_pay_for_this: Annotated[
        bool, typer.Option("--i-pay-for-this", help="Load the vendor's own host too. Default: off.")
    ] = False,
    max_messages: Annotated[
        int | None, typer.Option(help="How many messages may be sent, by all processes together. Default: any number.")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="How much may be spent, at SMSCODE_PRICE_PER_SEND a send. Default: any amount.")
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            help='What the run must keep to, such as "p99(send.caller_ms) < 250". Repeatable. Default: nothing.'
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Sends to a mobile that the service allows, such as 1/60s. Repeatable. Default: the API's."),
    ] = None,
    speed: Annotated[
        float, typer.Option(help="How many seconds of the service pass in one of yours: a sandbox's --speed.")
    ] = 1.0,
    mobiles: Annotated[
        str, typer.Option(help="Where mobiles come from: uniform, zipf:1.1, prefix:1380013, file:PATH or magic:CODE.")
    ] = "uniform",
    limit: Annotated[
        list[str] | None,
        typer.Option(help="Threshold up to which the scenario throughput seeks the highest rate. Repeatable."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Folder of a run that the scenario replay plays again. Default: none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load an API and report on it: with no target configured, a sandbox started for it. Ctrl-C ends it early."""
    from toolkit.api.rate_rules import Rule
    from toolkit.load_and_report import Trial, conclude, ending, new_folder, read_plan
    from toolkit.load_test.launch import locust_process
    from toolkit.load_test.plan.mobile_pools import parse_pool
    from toolkit.report.preload import Preload
    from toolkit.runs.thresholds import parse
    from toolkit.settings import find_target, load_price

    if users is None and rate is None and stages is None:
        stages = locust_process.find_stages(scenario)
        if stages and duration:
            mend = "leave --duration out, or give --rate or --users"
            raise InputError(f"{scenario} has stages of its own, {stages}: {mend}")
    if stages is None:
        users, duration = _USERS if users is None and rate is None else users, duration or _DURATION
    given = {"arrivals": arrivals.value, "max_connections": max_connections, "workers": workers}
    held = tuple(str(parse(text)) for text in threshold or ())
    limits = tuple(str(parse(text)) for text in limit or ())
    rules = tuple(str(Rule.parse(text)) for text in rule or ())
    parse_pool(mobiles)
    trial = Trial(
        scenario,
        read_plan(users, rate, stages, duration, **given),
        locust_process.Bounds(held, max_messages, max_cost, tuple(allow_target or ()), i_pay_for_this),
        locust_process.Expectations(rules, speed, mobiles, limits, str(recording) if recording else None),
        load_price(),
        secrets.randbelow(1 << 32) if seed is None else seed,
    )
    if is_url(out):
        check(out)
    with ExitStack() as stack:
        aim = find_target(base_url=target, app_key=app_key, temp_id=temp_id)
        if aim is None:
            say("No target is configured: starting a sandbox for this run.")
            aim = stack.enter_context(locust_process.sandbox(*trial.expectations.sandbox_arguments()))
        trial.check(aim)
        folder = new_folder(Path(tempfile.mkdtemp(prefix="smscode-")) if is_url(out) else Path(out))
        say(f"Loading {aim.base_url} with {scenario}: {_tell_plan(trial.plan)}. Ctrl-C ends it early.")
        run = stack.enter_context(trial.begin(aim, folder))
        stack.enter_context(Preload())
        ended = _follow(run, trial.plan.duration_s, trial.price)
    gc.freeze()  # the imports leave many objects that live until the end: no collection needs to visit them
    result, page = conclude(folder, trial.settings(aim) | ending(ended))
    show_result(result, as_json)
    say(f"The report: {_push(folder, out) if is_url(out) else page}")
    for note in ended.notes:
        say(f"note: {note}")
    if ended.cause is Cause.REFUSED:
        fail(f"the run was ended early: every further call would be refused: {ended.reason}", REFUSED)
    _check_answered(result.summary, aim)
    exit_by([result])


def _tell_plan(plan: Plan) -> str:
    pace = f"{plan.users} users" if plan.users else plan.stages or f"{plan.rate_per_s:g} journeys a second"
    return f"{pace} for {plan.duration_s:g} s"


def _push(folder: Path, out: str) -> str:
    """Move a run to its URL and tell where its report is there; where that fails, it stays."""
    try:
        push(folder, f"{out.rstrip('/')}/{folder.name}")
    except InputError as problem:
        fail(f"{problem}; the run stays in {folder}", USAGE)
    shutil.rmtree(folder.parent)
    return f"{folder.name}/report.html of --out"


def _follow(run: LoadRun, duration_s: float, price: Price | None) -> Ended:
    """Show the progress until the run is over; Ctrl-C or a terminal that hangs up ends it, and what ran counts."""
    show_progress = _live if sys.stderr.isatty() else _lines
    try:
        show_progress(run, duration_s, price)
    except (KeyboardInterrupt, OSError):
        say("Interrupted: ending the run, keeping what ran.")
        run.stop()
    return run.wait()


def _lines(run: LoadRun, duration_s: float, price: Price | None) -> None:
    from toolkit.runs.arrival_counts import Pacer

    pacer = Pacer()
    for progress in run.follow(every_s=_LINE_EVERY_S):
        line = tell_progress(progress, _rate(run, pacer), price)
        say(f"{progress.elapsed_s:5.1f}/{duration_s:g} s  {line}")


def _live(run: LoadRun, duration_s: float, price: Price | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from toolkit.runs.arrival_counts import Pacer

    pacer = Pacer()
    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=duration_s)
        for progress in run.follow():
            line = tell_progress(progress, _rate(run, pacer), price)
            bars.update(task, completed=min(progress.elapsed_s, duration_s), description=line)


def _rate(run: LoadRun, pacer: Pacer) -> Rate | None:
    pacing = run.pacing()
    return None if pacing is None else pacer.rate(pacing)


def tell_progress(progress: Progress, rate: Rate | None, price: Price | None) -> str:
    """Word in one line how a run stands: its rate, with the intended one where there is one, p99, spending, codes."""
    by_code: Counter[int | str] = Counter()
    for (_, outcome), calls in progress.outcomes.items():
        by_code[outcome] += calls
    parts = [
        *([f"{rate.achieved_per_s:,.0f} of {rate.intended_per_s:,.0f} journeys/s"] if rate else []),
        f"{progress.calls:,} calls",
        f"{progress.calls_per_s:,.0f}/s",
        f"p99 {progress.p99_ms:.3g} ms",
        f"{progress.messages:,} messages",
        *([f"{progress.messages * price.per_send:,.2f} {price.currency}"] if price else []),
        *(f"{outcome}: {calls / progress.calls:.1%}" for outcome, calls in by_code.most_common(5)),
    ]
    return "  ".join(parts)


def _check_answered(summary: Summary, aim: Target) -> None:
    """Fail where not a single call got an answer of the API."""
    endpoints: Any = summary["endpoints"]
    if not summary["calls"]:
        fail(f"no call was made to {aim.base_url}: give the run more time", NO_ANSWER)
    if not any(it["return_codes"] for it in endpoints.values()):
        fail(f"no call got an answer of the API from {aim.base_url}", NO_ANSWER)
