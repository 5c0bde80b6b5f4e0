"""`smscode load`: run a load test and report on it."""

from __future__ import annotations

import gc
import inspect
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from toolkit import number_format
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.cli.output import OUTPUT, Json, fail, say, signal_name
from toolkit.cli.send_verify import AppKey, BaseUrl, TempId
from toolkit.cli.show_result import exit_by, show_capacity, show_result, trial_line
from toolkit.load_test.plan.options import LoadOptions, declared, is_repeatable, parse_option, value_type
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.live_run import hold, is_stop_requested
from toolkit.runs.remote_storage import check, is_url, join, push

if TYPE_CHECKING:
    from toolkit.load_and_report import LoadTest
    from toolkit.load_test.launch.locust_process import Ended, LoadRun
    from toolkit.runs.arrival_counts import ArrivalCounts, ArrivalRate, ArrivalRateMeter
    from toolkit.runs.progress import Progress
    from toolkit.settings import Price, Target

F = TypeVar("F", bound=Callable[..., None])

_WIDTH, _BAR, _TIME = 80, 10, 10  # columns of a terminal, of the bar, and of the remaining time with the blanks
_LINE_EVERY_S = 1.0  # if stderr is not a terminal
_HANGING_S = 1.0  # age of the oldest call from which on it is more important than the outcomes


def takes_load_options(command: F) -> F:
    """Replace the ``**options`` of a command by the options that ``LoadOptions`` declares."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [it for it in signature.parameters.values() if it.kind is not it.VAR_KEYWORD]
    for name, option in declared().items():
        if option.flag is None:
            continue
        default = LoadOptions.model_fields[name].get_default()
        is_flag = value_type(name) is bool
        how = typer.Option(
            option.flag,
            help=option.help + (" Repeatable." if is_repeatable(name) else ""),
            metavar=option.metavar,
            parser=None if is_flag else partial(_check_option, name),
            show_default=False if is_flag else option.default or str(default),
            rich_help_panel=option.group[0].upper() + option.group[1:],
        )
        annotation: Any = bool if is_flag else list[str] if is_repeatable(name) else str
        annotation, default = (annotation, False) if is_flag else (annotation | None, None)
        parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        parameters.append(parameter.replace(annotation=Annotated[annotation, how]))
    parameters.sort(key=lambda it: it.name in _OUTPUT)  # the last group of the help
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {it.name: it.annotation for it in parameters} | {"return": None}
    return command


_OUTPUT = ("out", "as_json")


def _check_option(name: str, text: str) -> str:
    parse_option(name, text)
    return text


@takes_load_options
def load(
    scenario: Annotated[
        str,
        typer.Argument(help="Name of a locustfile in ./locustfiles or of the toolkit, or a path.", metavar="SCENARIO"),
    ] = "throughput",
    own_options: Annotated[
        list[str] | None,
        typer.Argument(
            help="Options that the locustfile itself defines, after --.", metavar="[-- OPTIONS]", show_default="none"
        ),
    ] = None,
    base_url: BaseUrl = None,
    app_key: AppKey = None,
    temp_id: TempId = None,
    *,
    out: Annotated[
        str,
        typer.Option(
            help="Folder, or a URL such as s3://..., in which the run gets a folder named by its time.",
            metavar="FOLDER",
            rich_help_panel=OUTPUT,
        ),
    ] = "runs",
    as_json: Json = False,
    **options: Any,
) -> None:
    """Run a load test and report on it. Without a configured target it starts a sandbox. Ctrl-C ends it early.

    Examples:
        Start 50 journeys a second, and fail if a send takes too long:

        $ smscode load --rate 50 --duration 10s --threshold 'p99(send.caller_ms) < 2500'
        Thresholds
        status  threshold                   measured
        PASS    p99(send.caller_ms) < 2500   41.2 ms
        ...
        Return codes
        ...

        Check that a sandbox keeps a limit of 1 send a second exactly:

        $ smscode load frequency_limits --rule 1/1s --users 5 --duration 10s
        ...
        frequency_limits: PASS
        ...

    """
    from toolkit.load_and_report import LoadTest, conclude, read_options
    from toolkit.settings import find_target, load_price

    if scenario.startswith("-"):
        raise InputError(f"name the locustfile before --, e.g. smscode load my_locustfile.py -- {scenario}")
    own = tuple(own_options or ())
    if own and not own[0].startswith("-"):
        raise InputError(f"got unexpected extra argument(s) ({' '.join(own)}); see smscode load --help")
    read = read_options(scenario, options)
    configured = find_target(base_url=base_url, app_key=app_key, temp_id=temp_id)
    _check_target_options(read, configured, temp_id)
    if read.find_capacity:
        _search(scenario, read, configured, out, as_json, own)
        return
    load_test = LoadTest(scenario, read, load_price(), own)
    if configured:
        load_test.check_permission(configured)
    if is_url(out):
        check(out)
    with _new_folder(out) as folder:
        with hold(folder, load_test.live_run(configured)):
            settings = _play(load_test, configured, folder)
            gc.freeze()  # the imports leave many objects that live until the end: no collection needs to visit them
            result, page = conclude(folder, settings)
        show_result(result, as_json)
        say(f"The report: {_push(folder, out) if is_url(out) else page}")
    for note in settings["notes"]:
        say(f"note: {note}")
    exit_by([result])


def _check_target_options(options: LoadOptions, configured: Target | None, temp_id: int | None) -> None:
    """Refuse options on the target that have no effect: those of a sandbox of the run's own, and TLS without https."""
    on_target = {
        "--temp-id": temp_id,
        "--allow-target": options.allow_target,
        "--i-pay-for-this": options.i_pay_for_this,
    }
    if configured is None and (lonely := [name for name, value in on_target.items() if value]):
        raise InputError(f"{lonely[0]} has no effect without a target, as a sandbox is started: give --target URL")
    of_tls = {"--ca-bundle": options.ca_bundle, "--client-cert": options.client_cert}
    is_plain = configured is None or configured.base_url.startswith("http:")
    if is_plain and (lonely := [name for name, value in of_tls.items() if value]):
        raise InputError(f"{lonely[0]} has no effect on a target without TLS: give --target https://...")


def _search(
    scenario: str, options: LoadOptions, configured: Target | None, out: str, as_json: bool, own: tuple[str, ...]
) -> None:
    """Search for the capacity of a target, or of a sandbox if none is configured, and exit by the result."""
    from toolkit.find_capacity import CapacitySearch, find_capacity
    from toolkit.load_test.launch.sandbox_process import sandbox
    from toolkit.settings import load_price

    search = CapacitySearch(scenario, options, load_price(), own)
    if configured:
        search.first_trial.check_permission(configured)
    if is_url(out):
        check(out)
    with ExitStack() as stack:
        if configured:
            search.first_trial.check(configured)
        else:
            say("No target is configured: starting a sandbox for this search.")
        target = configured or stack.enter_context(sandbox(*options.sandbox_arguments()))
        folder = stack.enter_context(_new_folder(out))
        limits = ", ".join(map(str, search.limits))
        say(f"Searching for the capacity of {target.base_url} under {limits}. Ctrl-C ends the search.")

        def play(load_test: LoadTest, target: Target, run_folder: Path) -> Ended:
            with load_test.prepare(run_folder) as run:
                load_test.begin(run, target)
                return _follow(run, load_test.options.run_time_s, load_test.price)

        with hold(folder, search.live_run(configured)):
            content = find_capacity(
                search,
                target,
                folder,
                play,
                lambda it: say(trial_line(it)),
                lambda it: say(f"Next: {it.why}."),
                lambda: "" if is_stop_requested(folder) else None,
            )
        show_capacity(content, as_json)
        say(f"The report: {_push(folder, out) if is_url(out) else folder / 'report.html'}")
    if code := content["exit_code"]:
        fail(content["unsettled"], code)


@contextmanager
def _new_folder(out: str) -> Iterator[Path]:
    """Create a run's folder in ``out``, or a temporary one for a URL; at the end remove a new parent that is empty."""
    from toolkit.load_and_report import new_folder

    parent = Path(out)
    is_ours = is_url(out) or not parent.exists()
    parent = Path(tempfile.mkdtemp(prefix="smscode-")) if is_url(out) else parent
    try:
        yield new_folder(parent)
    finally:
        if is_ours:
            with suppress(OSError):  # it is not empty
                parent.rmdir()


def _play(load_test: LoadTest, configured: Target | None, folder: Path) -> dict[str, Any]:
    """Run a load test to its end, against a sandbox if no target is configured; return the settings for run.json."""
    from toolkit.load_test.launch.sandbox_process import sandbox
    from toolkit.report.preload_imports import Preload

    options = load_test.options
    with ExitStack() as stack:
        run = stack.enter_context(load_test.prepare(folder))  # imports locust while the sandbox starts
        if configured:
            load_test.check(configured)
            target = configured
        else:
            say("No target is configured: starting a sandbox for this run.")
            target = stack.enter_context(sandbox(*options.sandbox_arguments()))
        load = f"{load_test.scenario}: {options.load_text()} for {options.run_time_s:g} s"
        say(f"Loading {target.base_url} with {load}. Ctrl-C ends it early.")
        load_test.begin(run, target)
        stack.enter_context(Preload())
        return load_test.final_settings(target, _follow(run, options.run_time_s, load_test.price))


def _push(folder: Path, out: str) -> str:
    """Move a run to its URL and return the place of its report; if that fails, leave the run and exit."""
    try:
        push(folder, join(out, folder.name))
    except InputError as problem:
        fail(f"{problem}; the run stays in {folder}", ExitCode.USAGE)
    shutil.rmtree(folder)
    return f"{folder.name}/report.html of --out"


def _follow(run: LoadRun, duration_s: float, price: Price | None) -> Ended:
    """Show the progress until the run ends. Ctrl-C, or a terminal that hangs up, ends it early."""
    show_progress = _live if sys.stderr.isatty() else _lines
    try:
        show_progress(run, duration_s, price)
    except KeyboardInterrupt as interrupt:
        say("Interrupted: ending the run; its report follows.")
        run.stop(signal_name(interrupt))
    except OSError:
        run.stop("SIGHUP")
    return run.wait()


def _lines(run: LoadRun, duration_s: float, price: Price | None) -> None:
    from toolkit.runs.arrival_counts import ArrivalRateMeter

    meter = ArrivalRateMeter()
    for progress in run.follow(every_s=_LINE_EVERY_S):
        time = f"{progress.elapsed_s:.1f}/{duration_s:g} s  "
        rate = current_rate(run.pacing(), meter)
        say(f"{time}{format_progress(progress, rate, price, _WIDTH - len(time))}")


def _live(run: LoadRun, duration_s: float, price: Price | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from toolkit.runs.arrival_counts import ArrivalRateMeter

    meter = ArrivalRateMeter()
    columns = (BarColumn(_BAR), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("starting", total=duration_s)
        for progress in run.follow():
            line = format_progress(progress, current_rate(run.pacing(), meter), price, _WIDTH - _BAR - _TIME)
            bars.update(task, completed=min(progress.elapsed_s, duration_s), description=line)


def current_rate(counts: ArrivalCounts | None, meter: ArrivalRateMeter) -> ArrivalRate | None:
    """Return the rate of the last second; None in a closed loop, and if no journey was due, as after the stages."""
    rate = None if counts is None else meter.rate(counts)
    return rate if rate and rate.intended_per_s else None


def format_progress(progress: Progress, rate: ArrivalRate | None, price: Price | None, width: int = 80) -> str:
    """Return a line with the rates, calls, p99, failures, calls in flight, messages, cost and successes so far.

    A rate or a p99 without calls is left out, and so are parts that do not fit ``width``.
    """
    by_code: Counter[int | str] = Counter()
    for (_, outcome), calls in progress.outcomes.items():
        by_code[outcome] += calls
    shares = {it: f"{it}: {number_format.share(calls / progress.calls)}" for it, calls in by_code.most_common(5)}
    success = shares.pop(ReturnCode.SUCCESS, "")
    in_flight = f"in flight {progress.in_flight:,}, oldest {progress.oldest_s:.1f} s" if progress.in_flight else ""
    seems_to_hang = progress.oldest_s >= _HANGING_S
    parts = [
        f"{rate.achieved_per_s:,.0f} of {rate.intended_per_s:,.0f} journeys/s" if rate else "",
        number_format.plural(progress.calls, "call"),
        "" if progress.calls_per_s is None else f"{progress.calls_per_s:,.0f}/s",
        "" if progress.p99_ms is None else f"p99 {number_format.milliseconds(progress.p99_ms)} ms",
        in_flight if seems_to_hang else "",
        *shares.values(),
        "" if seems_to_hang else in_flight,
        f"waiting {progress.waiting:,}" if progress.waiting else "",
        number_format.plural(progress.messages, "message"),
        number_format.money(progress.messages * price.per_send, price.currency) if price else "",
        success,
    ]
    line = ""
    for part in filter(None, parts):
        longer = f"{line}  {part}" if line else part
        line = longer if len(longer) <= width else line
    return line
