"""Print data to stdout and messages to stderr, for all commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

_PIPED_WIDTH = 200

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table. Default: off.")]


def say(line: str) -> None:
    """Print a message to stderr."""
    with suppress(OSError):  # e.g. the terminal has hung up
        print(line, file=sys.stderr, flush=True)


def fail(problem: object, exit_code: int) -> NoReturn:
    """Print an error in one line and exit."""
    say(f"smscode: {problem}")
    raise SystemExit(exit_code)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show(rows: Sequence[Mapping[str, object]], as_json: bool = False, title: str | None = None) -> None:
    """Print rows that have the same columns as a table, or as JSON."""
    if as_json:
        return show_json(rows)
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=None, header_style="bold", pad_edge=False, title_justify="left", title_style="bold")
    for name, value in (rows[0] if rows else {"nothing": ""}).items():
        table.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*map(_text, row.values()))
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False).print(table)  # print data unchanged


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
