"""Notebooks: those that come with the toolkit, and a copy of them to work on."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.api.errors import InputError

SETTINGS = Path(__file__).with_name("page") / "config"  # of JupyterLab: it asks nobody for news


def notebooks() -> list[Path]:
    """Return the notebooks that come with the toolkit, in their order."""
    room = Path(__file__).parents[1]
    packaged = room / "notebooks"
    return sorted((packaged if packaged.is_dir() else room.parent / "notebooks").glob("*.ipynb"))


def copy_to(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder and return those that weren't there yet: what was worked on stays as it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [it for it in notebooks() if not (folder / it.name).exists()]
        return [Path(shutil.copy(it, folder)) for it in missing]
    except OSError as problem:
        raise InputError(f"{folder}: the notebooks can't be copied there: {problem.strerror}") from None
