"""What every command says, and where: data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

REFUSED, USAGE, NO_ANSWER = 1, 2, 3
_PIPED_WIDTH = 200

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table. Default: off.")]


def say(line: str) -> None:
    """Tell a person something."""
    with suppress(OSError):  # nobody hears it, such as at a terminal that has hung up
        print(line, file=sys.stderr, flush=True)


def fail(problem: object, exit_code: int) -> NoReturn:
    """Say what went wrong in one line, and end."""
    say(f"smscode: {problem}")
    raise SystemExit(exit_code)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show(rows: Sequence[Mapping[str, object]], as_json: bool = False, title: str | None = None) -> None:
    """Print rows, all of the same columns, as a table, or as JSON."""
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
    return Console(width=width, highlight=False, markup=False, emoji=False).print(table)  # data is text as it stands


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
