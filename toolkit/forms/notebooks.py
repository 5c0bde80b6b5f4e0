"""Find the toolkit's notebooks, and copy them to a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.api.errors import InputError

SETTINGS = Path(__file__).with_name("page") / "config"  # of JupyterLab: it makes no requests for news and updates


def notebooks() -> list[Path]:
    """Return the paths of the toolkit's notebooks, in order."""
    room = Path(__file__).parents[1]
    packaged = room / "notebooks"
    return sorted((packaged if packaged.is_dir() else room.parent / "notebooks").glob("*.ipynb"))


def copy_to(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder, except those that exist there; return the new ones."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = [it for it in notebooks() if not (folder / it.name).exists()]
        return [Path(shutil.copy(it, folder)) for it in missing]
    except OSError as problem:
        raise InputError(f"{folder}: can't copy the notebooks to this folder: {problem.strerror}") from None
