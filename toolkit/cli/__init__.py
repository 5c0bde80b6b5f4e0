"""The `smscode` command: each subcommand imports its part of the toolkit, calls it and prints the result.

Data goes to stdout, messages to stderr. The help lists the exit codes.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from toolkit.api.errors import CallError, ReturnCodeError, ToolkitError
from toolkit.cli import load, notebooks, probe, report, send_verify, service, simulate, trend, what_if
from toolkit.cli.command import WIDTH, Command, Group, describe_usage
from toolkit.cli.output import PipeOutput, end_interrupted, fail, interrupt
from toolkit.runs.exit_codes import ExitCode

_EXIT_CODES = "\n".join(f"{int(code):>3}\t{code.description}" for code in ExitCode)

app = typer.Typer(
    name="smscode",
    cls=Group,
    help="Run, load-test and analyse an SMS verification-code API.",
    epilog=f"Exit codes, the first that applies\n{_EXIT_CODES}",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the help has its own layout; rich would take twice the time
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
)

_COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Calls": (send_verify.send, send_verify.verify, send_verify.codes, send_verify.mobile_key),
    "Load test and analysis": (load.load, probe.probe, report.report, trend.trend, what_if.what_if, simulate.simulate),
    "Forms and notebooks": (notebooks.console, notebooks.lab),
    "Service": (service.serve, service.deliver),
}
for _group, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_group)(_command)
for _name, _app in {"app": service.apps, "template": service.templates, "message": service.messages}.items():
    app.add_typer(_app, name=_name, rich_help_panel="Administration")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"smscode {version('sms-code-toolkit')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version, show_default=False
        ),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the command line. Every error becomes one line on stderr and an exit code."""
    if sys.stdout:  # else it is closed
        sys.stdout = PipeOutput(sys.stdout)
    _interrupt_on_every_ending()
    _hide_store_password()
    try:
        _run()
    except ReturnCodeError as problem:
        wait = f"; try again in {problem.retry_after_s} s" if problem.retry_after_s else ""
        fail(f"{problem}{wait}", ExitCode.REFUSED)
    except CallError as problem:
        fail(problem, ExitCode.NO_ANSWER)
    except ToolkitError as problem:
        fail(problem, ExitCode.USAGE)
    except ModuleNotFoundError as problem:
        fail(_name_extra(problem), ExitCode.USAGE)
    except TyperException as problem:
        fail(describe_usage(problem), ExitCode.USAGE)
    except OSError as problem:  # e.g. a full disk, or a file that cannot be read
        fail(problem, ExitCode.USAGE)
    except KeyboardInterrupt as problem:
        end_interrupted(problem)
    except Exception as problem:
        if str(problem) == "Query interrupted":  # how DuckDB passes a signal on, if it comes during a query
            end_interrupted(KeyboardInterrupt())
        name = f"{type(problem).__module__}.{type(problem).__name__}"
        if name in _OF_DAMAGED_PARQUET:
            fail(f"a Parquet file of calls is damaged: {problem}; report each file alone to find it", ExitCode.USAGE)
        if name == "_duckdb.IOException":  # e.g. a full disk
            fail(problem, ExitCode.USAGE)
        fail(f"a defect of the toolkit: {type(problem).__name__}: {problem}", ExitCode.DEFECT)
    raise SystemExit(0)


_OF_DAMAGED_PARQUET = ("_duckdb.Error", "_duckdb.SerializationException", "_duckdb.InvalidInputException")
_EXTRAS = {
    **dict.fromkeys(("serve", "deliver", "app", "template", "message"), "service"),
    **dict.fromkeys(("probe", "report", "simulate", "trend", "what-if"), "analysis"),
    **dict.fromkeys(("console", "lab"), "console"),
    "load": "load",
}


def _name_extra(problem: ModuleNotFoundError) -> str:
    """Return an error that names the command's extra and how to install it."""
    command = next((it for it in sys.argv[1:] if it in _EXTRAS), "")
    if not command:
        return f"{problem}; install it with: pip install 'sms-code-toolkit[all]'"
    extra = _EXTRAS[command]
    return f"smscode {command} needs the {extra} extra: pip install 'sms-code-toolkit[{extra}]' ({problem})"


def _hide_store_password() -> None:
    """Start again with the store in SMSCODE_STORE if it has a password: everyone can read a process's arguments."""
    arguments = list(sys.orig_argv)
    for place, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        url = value or (arguments[place + 1] if place + 1 < len(arguments) else "")
        if option == "--store" and "@" in url and os.name == "posix":
            os.environ["SMSCODE_STORE"] = url
            del arguments[place : place + (1 if value else 2)]
            os.execv(sys.executable, arguments)


def _interrupt_on_every_ending() -> None:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that child processes end too. A process under nohup ignores SIGHUP."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)


def _run() -> None:
    """Run the command; raise OSError if not all of its output could be written."""
    if sys.stdout is None:
        fail("stdout is closed, so the output cannot be written; to discard it use > /dev/null", ExitCode.USAGE)
    # Imports and charts make objects by the hundred thousand that live until the end. Python looks for garbage after
    # every 700 new ones, which takes a tenth of a report's time.
    gc.set_threshold(50_000, 20, 20)
    try:
        raise SystemExit(app(standalone_mode=False) or 0)
    finally:
        gc.freeze()  # the process ends: collecting what Altair and pandas leave would take up to a second
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails on it again at its end
            raise
