"""Print data to stdout and messages to stderr, for all commands."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn, TextIO

import typer

from toolkit.json_numbers import exact
from toolkit.masking import escape_control
from toolkit.runs.exit_codes import ExitCode

_PIPED_WIDTH = 200

OUTPUT = "Output"  # a group of options

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of text.", show_default=False, rich_help_panel=OUTPUT)
]


class PipeOutput:
    """Writes to a stream until its reader has gone, e.g. ``| head``; further output is dropped.

    So the exit code is still that of the command, and not that of a broken pipe.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._drop_output()
            return len(text)

    def flush(self) -> None:
        """Write the buffer, or drop it."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._drop_output()

    def _drop_output(self) -> None:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, self._stream.fileno())
        os.close(sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def interrupt(number: int, _: object) -> NoReturn:
    """Handle a signal as Python handles Ctrl-C; ``signal_name`` returns its name."""
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
    say(f"smscode: {' '.join(str(problem).splitlines())}")
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
    if not rows:
        return print(f"{title.strip()}: none" if title else "none")
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="bold")
    for name, value in rows[0].items():
        table.add_column(name, justify="right" if isinstance(value, int | float) or name in numbers else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False).print(table)  # print data unchanged


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else escape_control(str(value))
