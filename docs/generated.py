"""Generate the parts of the reference that the program knows.

A page has a marker such as ``<!-- generated: python-api toolkit.analysis -->``, which is replaced by Markdown.

sphinxcontrib-openapi writes reStructuredText, and repeats each refusal as a page of HTTP; sphinx-click can't read
Typer, which has its own copy of click.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import typer.core
import typer.main
import yaml

from toolkit import settings
from toolkit.cli import app
from toolkit.load_test.plan.options import declared, is_repeatable
from toolkit.runs.exit_codes import ExitCode

OPENAPI = Path(__file__).parent / "openapi.yaml"
MARKER = re.compile(r"<!-- generated: (\S+)(.*?) -->")


def fill(source: str) -> str:
    """Replace the markers of a page by what they stand for."""
    return MARKER.sub(lambda found: GENERATORS[found[1]](*found[2].split()), source)


def table(*rows: Iterable[object]) -> str:
    """Return a table; the first row is its head."""
    head, *body = [" | ".join(str(it).replace("|", r"\|") for it in row) for row in rows]
    return "\n".join(f"| {row} |" for row in [head, "|".join("---" for _ in rows[0]), *body])  # type: ignore[arg-type]


# The command line.


def command_line() -> str:
    """Describe every command with its options."""
    return "\n\n".join(_describe_command(typer.main.get_command(app), "smscode", 2))


def _describe_command(command: Any, name: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield f"{'#' * level} {name}"
    text, _, examples = inspect.cleandoc(command.help or "").partition("Examples:")
    yield text.strip().replace("`", "``").replace("<", r"\<")
    yield f"```console\n$ {name} {' '.join(command.collect_usage_pieces(context))}\n```"
    if examples.strip():
        yield f"```console\n{textwrap.dedent(examples).strip()}\n```"
    yield f"```{{program}} {name}\n```"
    yield from _describe_parameters(command, context)
    for each in command.list_commands(context) if isinstance(command, typer.core.TyperGroup) else ():
        yield from _describe_command(command.get_command(context, each), f"{name} {each}", level + 1)


def _describe_parameters(command: Any, context: Any) -> Iterator[str]:
    by_group: dict[str, list[Any]] = {}
    for parameter in command.get_params(context):
        is_option = isinstance(parameter, typer.core.TyperOption)
        group = (parameter.rich_help_panel or "Options") if is_option else "Arguments"
        by_group.setdefault(group, []).append(parameter)
    for group, parameters in by_group.items():
        yield f"**{group}**"
        for parameter in parameters:
            names, text = _describe_parameter(parameter, context)
            yield f"```{{option}} {names}\n{text}\n```"


def _describe_parameter(parameter: Any, context: Any) -> tuple[str, str]:
    if isinstance(parameter, typer.core.TyperOption):
        value = "" if parameter.is_flag else f" {parameter.metavar or parameter.display_type(context)}"
        names = ", ".join(f"{name}{value}" for name in [*parameter.opts, *parameter.secondary_opts])
    else:
        names = parameter.metavar or parameter.name.upper()
    shown = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
    default = f" Default: {shown}." if parameter.show_default and shown not in (None, False, "") else ""
    return names, (parameter.help or "").replace("`", "``") + default


# Settings and exit codes.


def target_settings() -> str:
    """Describe the settings of the target."""
    return _settings_table(settings._TargetSettings)


def service_settings() -> str:
    """Describe the options of the service."""
    return _settings_table(settings.ServiceSettings)


def _settings_table(model: Any) -> str:
    texts = dict(re.findall(r"^ +(\w+): ((?:.|\n {12})+)$", model.__doc__, re.MULTILINE))
    rows = [
        (f"`{name}`", f"`SMSCODE_{name.upper()}`", _setting_default(field.default), " ".join(texts[name].split()))
        for name, field in model.model_fields.items()
    ]
    return table(("in smscode.toml", "variable", "default", "meaning"), *rows)


def _setting_default(value: Any) -> str:
    if hasattr(value, "get_secret_value") or value in (None, "", ()):
        return "–"
    return (
        f"`{' '.join(value)}`"
        if isinstance(value, tuple)
        else f"`{json.dumps(value) if isinstance(value, bool) else value}`"
    )


def load_settings() -> str:
    """Describe the environment variables and the arguments of a locust process."""
    rows = [
        (f"`{option.variable}`", f"`{option.argument}`", option.help + (" Repeatable." if is_repeatable(name) else ""))
        for name, option in declared().items()
        if option.variable
    ]
    return table(("variable", "argument of locust", "meaning"), *rows)


def exit_codes() -> str:
    """List the exit codes in the order in which one wins over the others."""
    return table(("code", "reason"), *((int(code), code.description) for code in ExitCode))


# The HTTP API.


def http_api() -> str:
    """Describe the operations of the OpenAPI document."""
    return "\n\n".join(_describe_api(yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))))


def _describe_api(spec: dict[str, Any]) -> Iterator[str]:
    yield spec["info"]["description"]
    for path, item in spec["paths"].items():
        shared = item.get("parameters", [])
        for verb, operation in item.items():
            if verb != "parameters":
                yield f"## {operation['summary']}"
                yield f"`{verb.upper()} {path}`"
                yield from _describe_operation(spec, operation, shared)


def _describe_operation(spec: dict[str, Any], operation: dict[str, Any], shared: list[Any]) -> Iterator[str]:
    yield operation.get("description", "")
    parameters = [_resolve(spec, it) for it in [*shared, *operation.get("parameters", [])]]
    if parameters:
        rows = [
            (f"`{it['name']}`", it["in"], _describe_type(spec, it["schema"]), it.get("description", ""))
            for it in parameters
        ]
        yield table(("parameter", "in", "type", "meaning"), *rows)
    if "requestBody" in operation:
        body = _resolve(spec, operation["requestBody"])
        yield "**Request body**"
        yield body.get("description", "")
        yield from _describe_content(spec, body["content"])
    for status, response in operation["responses"].items():
        response = _resolve(spec, response)
        yield f"**{status}**: {response['description']}"
        headers = {name: _resolve(spec, it) for name, it in response.get("headers", {}).items()}
        if headers:
            yield "\n".join(f"- `{name}`: {it.get('description', '')}" for name, it in headers.items())
        yield from _describe_content(spec, response.get("content", {}))


def _describe_content(spec: dict[str, Any], content: dict[str, Any]) -> Iterator[str]:
    for body in content.values():
        if "examples" in body:
            rows = [
                (f"`{json.dumps(it['value'], ensure_ascii=False)}`", it.get("summary", ""))
                for it in body["examples"].values()
            ]
            yield table(("body", "meaning"), *rows)
            continue
        schema = _resolve(spec, body.get("schema", {}))
        required = schema.get("required", ())
        rows = [
            (
                f"`{name}`",
                _describe_type(spec, it),
                "yes" if name in required else "no",
                _resolve(spec, it).get("description", ""),
            )
            for name, it in schema.get("properties", {}).items()
        ]
        if rows:
            yield table(("field", "type", "required", "meaning"), *rows)
        if "example" in body:
            yield f"```json\n{json.dumps(body['example'], ensure_ascii=False, indent=2)}\n```"


def _describe_type(spec: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolve(spec, schema)
    if "anyOf" in schema or "oneOf" in schema:
        kinds = (_describe_type(spec, it) for it in schema.get("anyOf") or schema["oneOf"])
        return " or ".join(dict.fromkeys(kinds))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(it)}`" for it in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_describe_type(spec, schema.get('items', {}))}"
    limits = [
        f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema
    ]
    pattern = [f"`{schema['pattern']}`"] if "pattern" in schema else []
    return ", ".join([str(schema.get("type", "any")), *limits, *pattern])


def _resolve(spec: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    found: Any = value
    while "$ref" in found:
        found = spec
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        value = found
    return value


# The Python API.


def python_api(module: str, *names: str) -> str:
    """Document a module and some of its names, by default those that it exports or defines.

    ``NAME=MEMBER,MEMBER`` documents these members of a class only.
    """
    code = import_module(module)
    own = [name for name, it in vars(code).items() if getattr(it, "__module__", "") == module and name[0] != "_"]
    directives = [] if names else [f".. automodule:: {module}\n   :no-members:"]
    for text in names or getattr(code, "__all__", own):
        name, _, members = text.partition("=")
        value = getattr(code, name)
        kind = _kind(value)
        options = f"\n   :members: {members}" if members else ""
        options += "\n   :undoc-members:" if kind == "class" and issubclass(value, Enum) else ""
        if kind == "data":  # autodoc would show the docstring of its type
            directives.append(f".. py:data:: {name}\n   :module: {module}\n\n   {getattr(value, 'description', '')}")
        else:
            directives.append(f".. auto{kind}:: {module}.{name}{options}")
    return "```{eval-rst}\n" + "\n\n".join(directives) + "\n```"


def _kind(value: object) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def module_text(*modules: str) -> str:
    """Show what modules say about themselves."""
    directives = (f".. automodule:: {module}\n   :no-members:\n   :no-index:" for module in modules)
    return "```{eval-rst}\n" + "\n\n".join(directives) + "\n```"


def load_options() -> str:
    """List the fields of LoadOptions."""
    rows = [
        (f"`{name}`", f"`{option.flag}`" if option.flag else "–", option.help) for name, option in declared().items()
    ]
    return table(("field", "option of smscode load", "meaning"), *rows)


GENERATORS: dict[str, Callable[..., str]] = {
    "command-line": command_line,
    "target-settings": target_settings,
    "service-settings": service_settings,
    "load-settings": load_settings,
    "exit-codes": exit_codes,
    "http-api": http_api,
    "load-options": load_options,
    "module-text": module_text,
    "python-api": python_api,
}
