"""Turn pydantic's errors into one line for the file's author: the place, the value, and a form that works."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError

_MAX_SHOWN = 60
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


def explain(error: ValidationError, expected: Mapping[str, Mapping[str, str]]) -> str:
    """Return the first problem of a validation in one line, without the file's name.

    Args:
        error: the error of a model of a TOML or JSON file.
        expected: for each table of the file, by name, its keys and a form that works for each. The file's own keys, or
            those of the rows if the file is a list, are under "".

    A row is named as in TOML: ``[[prices]] number 1: invalid segments 0: expected a whole number from 1 to 99``.

    """
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one: name the misspelling.
    problem = next((it for it in problems if it["type"] in _UNKNOWN_KEY), problems[0])
    *path, last = problem["loc"] or ("",)
    if isinstance(last, int):
        path, last = [*path, last], ""
    table = next((part for part in path if isinstance(part, str)), "")
    keys = expected[table] if table in expected else expected[""]
    place = "".join(f"number {part + 1}: " if isinstance(part, int) else f"[[{part}]] " for part in path)
    shown = repr(problem["input"])
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    match problem["type"]:
        case kind if kind in _UNKNOWN_KEY:
            return f"{place}unknown key {str(last)!r} ({suggest(str(last), keys)})"
        case "missing":
            return f"{place}{last} is missing: expected {keys[str(last)]}"
        case "value_error" if last not in keys:
            return place + problem["msg"].removeprefix("Value error, ")
        case _ if last in keys:
            return f"{place}invalid {last} {shown}: expected {keys[str(last)]}"
        case _:
            noun = "a list of objects" if problem["type"] == "list_type" else "an object"
            return f"{place}invalid {shown}: expected {noun} with the keys {', '.join(keys)}"


def suggest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Return a hint about an unknown name: the most similar known name, or all known names.

    >>> suggest("prise", ["price", "templates"]), suggest("x", ["price", "templates"])
    ('did you mean price?', 'choose from price, templates')
    """
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
