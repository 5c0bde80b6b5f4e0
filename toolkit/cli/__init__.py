"""The `smscode` command: each subcommand imports its part of the toolkit, calls it and prints the result.

Data goes to stdout, messages to stderr. The help lists the exit codes.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import NoReturn

import typer

from toolkit.api.errors import CallError, ReturnCodeError, ToolkitError
from toolkit.cli import load, notebooks, report, send_verify, service, simulate
from toolkit.cli.output import fail, interrupt, signal_name
from toolkit.runs.exit_codes import ExitCode

app = typer.Typer(
    name="smscode",
    help="Run, load-test, measure and pay for an SMS verification-code API."
    f" Exit codes, the first that applies: {'; '.join(f'{int(code)} {code.description}' for code in ExitCode)}.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # formatting the help with rich takes twice the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(service.serve)
app.command()(service.deliver)
app.add_typer(service.apps, name="app")
app.add_typer(service.templates, name="template")
app.add_typer(service.messages, name="message")
app.command()(send_verify.send)
app.command()(send_verify.verify)
app.command()(send_verify.codes)
app.command("mobile-key")(send_verify.mobile_key)
app.command()(load.load)
app.command()(report.report)
app.command()(notebooks.console)
app.command()(notebooks.lab)
app.command()(simulate.simulate)


def main() -> NoReturn:
    """Run the command line. Every error becomes one line on stderr and an exit code."""
    _interrupt_on_every_ending()
    _hide_store_password()
    try:
        _run()
    except ReturnCodeError as problem:
        fail(problem, ExitCode.REFUSED)
    except CallError as problem:
        fail(problem, ExitCode.NO_ANSWER)
    except ToolkitError as problem:
        fail(problem, ExitCode.USAGE)
    except ModuleNotFoundError as problem:
        fail(f"{problem}; install it with: pip install 'sms-code-toolkit[all]'", ExitCode.USAGE)
    except OSError as problem:  # e.g. a full disk, or a file that cannot be read
        fail(problem, ExitCode.USAGE)
    except KeyboardInterrupt as problem:
        is_terminated = signal_name(problem) == "SIGTERM"
        fail("interrupted", ExitCode.TERMINATED if is_terminated else ExitCode.INTERRUPTED)
    except Exception as problem:
        fail(f"a defect of the toolkit: {type(problem).__name__}: {problem}", ExitCode.DEFECT)
    raise SystemExit(0)


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
    try:
        app()
    finally:
        gc.freeze()  # the process ends: collecting what Altair and pandas leave would take up to a second
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails on it again at its end
            raise
