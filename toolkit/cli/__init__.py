"""`smscode`: the toolkit in a shell. Thin: each command imports what it needs, calls it, and prints.

stdout is data, stderr is talk. Exit 0 done, 1 refused by the API, 2 usage, 3 no answer.
"""

from __future__ import annotations

from typing import NoReturn

import typer

from toolkit.cli import calls, runs, service
from toolkit.cli.output import NO_ANSWER, REFUSED, USAGE, fail
from toolkit.errors import CallError, ReturnCodeError, ToolkitError

DEFECT, INTERRUPTED = 70, 130

app = typer.Typer(
    name="smscode",
    help="Run, load, break, measure and pay for an SMS verification-code API."
    " Exit codes: 0 done, 1 refused by the API, 2 usage, 3 no answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the plain help is there in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(service.serve)
app.add_typer(service.apps, name="app")
app.add_typer(service.templates, name="template")
app.command()(calls.send)
app.command()(calls.verify)
app.command()(calls.codes)
app.command()(runs.load)
app.command()(runs.report)


def main() -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on stderr and an exit code."""
    try:
        app()
    except ReturnCodeError as problem:
        fail(problem, REFUSED)
    except CallError as problem:
        fail(problem, NO_ANSWER)
    except ToolkitError as problem:
        fail(problem, USAGE)
    except ModuleNotFoundError as problem:
        fail(f"{problem}; install it with: pip install 'sms-code-toolkit[all]'", USAGE)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except Exception as problem:
        fail(f"a defect of the toolkit: {type(problem).__name__}: {problem}", DEFECT)
    raise SystemExit(0)
