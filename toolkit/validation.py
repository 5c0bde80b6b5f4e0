"""Describe errors in TOML and JSON files and of our parsers in one line: place, value, and a form that works."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from toolkit.api.errors import InputError

_MAX_SHOWN = 60
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises InputError if it isn't JSON, or is nested too deeply, and OSError if it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is not JSON: {problem}; correct or remove the file") from None


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


def name_input(problem: str, name: str, value: str) -> str:
    """Name the option or setting in an error about its value.

    >>> name_input("invalid rule 'x': expected COUNT/DURATION", "--app-rule", "x")
    "invalid --app-rule 'x': expected COUNT/DURATION"
    >>> name_input("expected a whole number", "--users", "x")
    "invalid --users 'x': expected a whole number"
    """
    noun, found, rest = problem.partition(repr(value))
    if found and noun.startswith(("invalid ", "unknown ")):
        return f"{noun.split()[0]} {name} {value!r}{rest}"
    return f"invalid {name} {value!r}: {problem}"


def expected_form(kind: Any, lowest: float | None = None, highest: float | None = None) -> str:
    """Describe the values of a type in words, as in "expected a whole number from 0 to 65535".

    ``kind`` is a type or an annotation; None in a union is left out.

    >>> expected_form(int, 0, 65535), expected_form(float | None, 0), expected_form(Literal["a", "b"])
    ('a whole number from 0 to 65535', 'a number from 0', 'one of a, b')
    """
    kinds = [it for it in get_args(kind) if it is not type(None)] if get_origin(kind) is not Literal else []
    kind = kinds[0] if kinds else kind
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(str(it.value) for it in kind)}"
    words = {bool: "true or false", int: "a whole number", float: "a number", Decimal: "a decimal number, e.g. 0.045"}
    start = "" if lowest is None else f" from {lowest}"
    return f"{words.get(kind, 'text')}{start}{'' if highest is None else f' to {highest}'}"
