"""Print data to stdout and messages to stderr, for all commands."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from toolkit.json_numbers import exact
from toolkit.masking import escape_control
from toolkit.runs.exit_codes import ExitCode

_PIPED_WIDTH = 200

OUTPUT = "Output"  # a group of options

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text.", show_default=False, rich_help_panel=OUTPUT)
]


def interrupt(number: int, _: object) -> NoReturn:
    """Handle a signal as Python handles Ctrl-C; ``signal_name`` tells which one it was."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def signal_name(interrupt: KeyboardInterrupt) -> str:
    """Return the name of the signal that interrupted the process."""
    return str(interrupt.args[0]) if interrupt.args else "SIGINT"


def say(line: str) -> None:
    """Print a message to stderr."""
    with suppress(OSError):  # e.g. the terminal has hung up
        print(escape_control(line), file=sys.stderr, flush=True)


def fail(problem: object, exit_code: int) -> NoReturn:
    """Print an error in one line and exit."""
    say(f"smscode: {problem}")
    raise SystemExit(exit_code)


def end_interrupted(interrupt: KeyboardInterrupt) -> NoReturn:
    """Exit with the code of the signal that interrupted the process."""
    is_terminated = signal_name(interrupt) == "SIGTERM"
    fail("interrupted", ExitCode.TERMINATED if is_terminated else ExitCode.INTERRUPTED)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(exact(value), ensure_ascii=False), flush=True)


def show(
    rows: Sequence[Mapping[str, object]],
    as_json: bool = False,
    title: str | None = None,
    numbers: Collection[str] = (),
) -> None:
    """Print rows that have the same columns as a table, or as JSON. ``numbers``: columns of numbers as text."""
    if as_json:
        return show_json(rows)
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="bold")
    for name, value in (rows[0] if rows else {"nothing": ""}).items():
        table.add_column(name, justify="right" if isinstance(value, int | float) or name in numbers else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False).print(table)  # print data unchanged


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else escape_control(str(value))
