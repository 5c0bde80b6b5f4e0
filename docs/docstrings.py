"""Prepare docstrings for napoleon, which knows no lists of columns, and show indented blocks of modules as they are."""

from __future__ import annotations

import re
from typing import Any

COLUMNS = re.compile(r"^( *)(\w+: )?(.*\b[Cc]olumns):$")
NAMES = re.compile(r"^((?:\w+|``\w+``)(?:, (?:\w+|\.\.\.))*)(?= \(|: |\.$)")


def process(app: Any, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Change the lines of a docstring in place."""
    if lines and lines[0].startswith("Alias for field number"):  # a field of a named tuple has no other text
        lines.clear()
    lines[:] = keep_blocks(lines) if what == "module" else list_columns(lines)


def shorten(
    app: Any, what: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Replace what is no Python in a signature, defaults that are functions by dots."""
    if signature:
        signature = re.sub(r"<function [^,)]*>|<factory>", "...", signature)
        signature = re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature)
    return signature, returns


def list_columns(lines: list[str]) -> list[str]:
    """Turn the block under a line that ends with "columns:" into a list."""
    made: list[str] = []
    margin, bullet = None, 0  # the indentation of the block's entries, and of the list's
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if margin is not None and line.strip() and indent < margin:
            made.append("")
            margin = None
        if margin is not None and line.strip():
            entry = indent == margin
            text = NAMES.sub(r"**\1**", line.strip()) if entry else line.strip()
            made.append(" " * bullet + ("* " if entry else "  ") + text)
        elif found := COLUMNS.match(line):
            bullet = len(found[1]) + (4 if found[2] else 0)  # a list within the description of an attribute
            margin = len(found[1]) + 4
            made += [line.rstrip(":"), ""]  # napoleon takes a text before a colon for a type
        else:
            made.append(line)
    return made


def keep_blocks(lines: list[str]) -> list[str]:
    """Mark the indented block after a line that ends with a colon as literal text."""
    following = [*lines[1:], "", ""]
    return [
        f"{line}:"
        if re.search(r"[^:]:$", line) and not blank and after.startswith(" " * (len(line) - len(line.lstrip()) + 1))
        else line
        for line, blank, after in zip(lines, following, following[1:], strict=False)
    ]
