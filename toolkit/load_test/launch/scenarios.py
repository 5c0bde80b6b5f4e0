"""Find the locustfiles that `smscode load` and the forms run by name."""

from __future__ import annotations

import ast
from pathlib import Path

from toolkit.api.errors import InputError
from toolkit.load_test.plan.options import LoadOptions, unused_option

_KNOWN_PACKAGES = {"__future__", "locust", "toolkit"}
_USED_BY = {"limits": "THROUGHPUT", "recording": "or_else"}  # the name of the check or journey that reads the option


def scenarios() -> dict[str, Path]:
    """Return the locustfile of each known scenario. A file in ./locustfiles has precedence over the toolkit's."""
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
        if name.endswith(".py"):
            raise InputError(f"no locustfile at {name}: give its path, or a scenario: {names}")
        raise InputError(f"unknown scenario {name!r} (choose from {names}, or give the path of a locustfile, FILE.py)")
    return path


def find_stages(name: str) -> str | None:
    """Return the ``stages`` that a scenario's user class sets, None if it sets none. The locustfile is not executed."""
    for node in ast.walk(_parse(name)):
        match node:
            case ast.Assign(targets=[ast.Name(id="stages")], value=ast.Constant(value=str(stages))):
                return stages
    return None


def check_options(name: str, options: LoadOptions) -> None:
    """Raise InputError if a scenario is unknown, or if it makes no use of an option that was given.

    The locustfile is read, not executed. If it imports modules other than locust's and the toolkit's, they may use
    the option: then the load test checks that when it starts.
    """
    tree = _parse(name)
    nodes = list(ast.walk(tree))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "." * node.level for node in nodes if isinstance(node, ast.ImportFrom)}
    if {module.partition(".")[0] for module in modules} - _KNOWN_PACKAGES:
        return
    words = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    words |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    for option, word in _USED_BY.items():
        is_of_search = option == "limits" and options.find_capacity
        if getattr(options, option) and word not in words and not is_of_search:
            raise InputError(unused_option(option, name))


def describe(name: str) -> str:
    """Return the first line of a scenario's docstring, "" without one."""
    return (ast.get_docstring(_parse(name)) or "").partition("\n")[0]


def _parse(name: str) -> ast.Module:
    return ast.parse(find_scenario(name).read_text(encoding="utf-8"))
