"""No regular expression of the toolkit takes more than linear time, whatever text a caller or a log holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent / "toolkit"
LENGTH = 64 * 1024
# The generator's modules would patch this process with gevent; they compile no pattern of their own.
MODULES = [
    path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", ".")
    for path in sorted(ROOT.rglob("*.py"))
    if "re.compile" in path.read_text(encoding="utf-8") and "generator" not in path.parts
]
PIECES = ["a", "1", "13", " ", "\t", "_", "-", "+86", "//", "http://", "://", "?", "#", "(", "[", "code", 'code"', "a@"]
PIECES += ["\\x22", "\\", '"', ":", "1.", "1m", "1,000", "basic ", "Bearer a", "id:", "text:", "$a", "money_", "合计"]
PIECES += ["\0", "\u202e"]
AnyPattern = re.Pattern[str] | re.Pattern[bytes]


def patterns(module: str) -> Iterator[tuple[AnyPattern, bool]]:
    """Yield each pattern of a module, and whether the module searches with it and not only matches from a start."""
    source = Path(import_module(module).__file__ or "").read_text(encoding="utf-8")
    for name, value in vars(import_module(module)).items():
        searches = any(f"{name}.{method}" in source for method in ("search", "sub", "findall", "finditer", "split"))
        for pattern in value if isinstance(value, tuple) else (value,):
            if isinstance(pattern, re.Pattern):
                yield pattern, searches


def test_the_generator_compiles_no_pattern() -> None:
    generator = ROOT / "load_test" / "generator"
    assert not [it for it in generator.rglob("*.py") if "re.compile" in it.read_text(encoding="utf-8")]


@pytest.mark.parametrize("module", MODULES)
def test_a_hostile_text_of_64_kib_is_matched_in_linear_time(module: str) -> None:
    # With a cost that grows with the cube of the length, this test would not end.
    for (pattern, searches), piece in product(patterns(module), PIECES):
        text = piece * (LENGTH // len(piece)) + "\n"
        subject: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
        pattern.fullmatch(subject)
        pattern.match(subject)
        if searches:
            pattern.sub(subject[:0], subject)
