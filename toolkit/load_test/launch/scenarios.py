"""Find the locustfiles that `smscode load` and the forms know by name."""

from __future__ import annotations

import ast
from pathlib import Path

from toolkit.api.errors import InputError


def scenarios() -> dict[str, Path]:
    """Return the known scenarios as name to locustfile; one in ./locustfiles replaces the toolkit's of that name."""
    package = Path(__file__).parents[2]
    packaged = package / "locustfiles"
    folders = [packaged if packaged.is_dir() else package.parent / "locustfiles", Path("locustfiles")]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("[!_]*.py"))}


def find_scenario(name: str) -> Path:
    """Return the locustfile of a scenario.

    Args:
        name: A name of ``scenarios``, or the path of a locustfile, which ends in ``.py``.

    Raises:
        InputError: There is no such scenario or file.
    """
    known = scenarios()
    path = Path(name) if name.endswith(".py") else known.get(name)
    if path is None or not path.is_file():
        names = ", ".join(sorted(known))
        raise InputError(f"unknown scenario {name!r} (choose from {names}, or give the path of a locustfile)")
    return path


def find_stages(name: str) -> str | None:
    """Return the ``stages`` that a scenario's user class sets, None if it sets none. The locustfile is not executed."""
    for node in ast.walk(_parse(name)):
        match node:
            case ast.Assign(targets=[ast.Name(id="stages")], value=ast.Constant(value=str(stages))):
                return stages
    return None


def describe(name: str) -> str:
    """Return the first line of a scenario's docstring, "" without one."""
    return (ast.get_docstring(_parse(name)) or "").partition("\n")[0]


def _parse(name: str) -> ast.Module:
    return ast.parse(find_scenario(name).read_text(encoding="utf-8"))
