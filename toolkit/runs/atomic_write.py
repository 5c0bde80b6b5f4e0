"""Files: written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from toolkit.api.errors import InputError


def write_whole(path: Path, text: str) -> Path:
    """Write a file, which appears whole or not at all, and its folder where there is none; raise InputError."""
    partial = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(text.encode("utf-8", "replace"))
        return partial.replace(path)
    except OSError as problem:
        reason = f"no report can be kept there: {problem.strerror}; choose another folder"
        raise InputError(f"{path.parent}: {reason}") from None
