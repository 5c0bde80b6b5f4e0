"""`smscode`: the toolkit in a shell. Thin: each command imports what it needs, calls it, and prints.

stdout is data, stderr is talk. The exit codes are in its help.
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
from toolkit.cli.output import NO_ANSWER, REFUSED, USAGE, fail

DEFECT, INTERRUPTED = 70, 130

app = typer.Typer(
    name="smscode",
    help="Run, load, break, measure and pay for an SMS verification-code API."
    " Exit codes: 0 done, 1 refused by the API, 2 usage, 3 no answer, 70 a defect of the toolkit,"
    " 97 a run was ended by its budget, 98 its load generator was the bottleneck, 99 it missed a threshold or had no"
    " data for it, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the plain help is there in half the time
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
app.command()(load.load)
app.command()(report.report)
app.command()(notebooks.console)
app.command()(notebooks.lab)
app.command()(simulate.simulate)


def main() -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on stderr and an exit code."""
    _interrupt_on_every_ending()
    try:
        _run()
    except ReturnCodeError as problem:
        fail(problem, REFUSED)
    except CallError as problem:
        fail(problem, NO_ANSWER)
    except ToolkitError as problem:
        fail(problem, USAGE)
    except ModuleNotFoundError as problem:
        fail(f"{problem}; install it with: pip install 'sms-code-toolkit[all]'", USAGE)
    except OSError as problem:  # what a machine or its user can do: a full disk, a file that can't be read
        fail(problem, USAGE)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except Exception as problem:
        fail(f"a defect of the toolkit: {type(problem).__name__}: {problem}", DEFECT)
    raise SystemExit(0)


def _interrupt_on_every_ending() -> None:
    """Make SIGTERM and SIGHUP what Ctrl-C is, so that nothing is left behind; but nohup stays nohup."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _run() -> None:
    """Run the command; raise OSError where stdout didn't take all of its data."""
    if sys.stdout is None:
        fail("stdout is closed, so there is no place for data; > /dev/null is one", USAGE)
    try:
        app()
    finally:
        gc.freeze()  # the process ends: collecting what Altair and pandas leave would take up to a second
        _flush()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails on it once more, at its end
        raise
