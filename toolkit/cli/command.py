"""Lay out the help of commands, and describe wrong arguments in one sentence.

Click's plain help has no groups of options and no examples, and its errors do not repeat the value. Typer's help with
rich has groups, but takes twice the time.

- The options of one ``rich_help_panel`` get a heading of their own.
- A docstring may end with ``Examples:``, whose lines are shown as they are, after the options.
- Every default is written ``[default: ...]``, after the text of the option. A flag is off unless it is given.
"""

from __future__ import annotations

import re
from typing import Any

import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.exceptions import TyperException

from toolkit.api.errors import InputError, SettingsError
from toolkit.cli.output import end_interrupted, say
from toolkit.runs.exit_codes import ExitCode
from toolkit.validation import expected_form, name_input

WIDTH = 120  # the widest help, on a wider terminal too
_EXAMPLES = "Examples:\n"
_IN_SHELL = (  # what an error of the Python API proposes, and the same for the shell
    (re.compile(r'columns=\{"(\w+)": "([^"]*)"\}'), r"--statement-column \1=\2"),
    (re.compile("give columns or log_format"), "give --column or --log-format"),
    (re.compile(r"^unknown field ('\w+') in columns"), r"unknown field \1 in --column"),
)
_NAMED = re.compile(r"(invalid|unknown) (\w+)(?=:| of | nan| inf| ['\"\d-])")


class Command(TyperCommand):
    """A command whose help has groups of options and examples, and whose errors name the option."""

    @property
    def examples(self) -> str:
        """The examples of the docstring: lines that begin with ``$`` and their output."""
        return (self.help or "").partition(_EXAMPLES)[2]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line: an argument that may be left out is in brackets."""
        arguments = [it for it in self.params if isinstance(it, TyperArgument)]
        names = [(_name(it), it.required) for it in arguments]
        return ["[OPTIONS]", *(name if required or name.startswith("[") else f"[{name}]" for name, required in names)]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        """Write the docstring without the examples."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text((self.help or "").partition(_EXAMPLES)[0].strip())

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options in their groups."""
        _write_parameters(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}".rstrip() + "\n" for line in _outdent(self.examples)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; refuse an empty one, which is an unset variable of a shell."""
        for number, argument in enumerate(args):
            if not argument or (argument.startswith("--") and argument.endswith("=")):
                place = argument[:-1] or (f"the argument after {args[number - 1]}" if number else "the first argument")
                raise InputError(f"{place} is empty: expected a value; is a variable unset?")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; replace the name of an argument in an error by the option that was used."""
        try:
            return super().invoke(ctx)
        except (InputError, SettingsError) as problem:
            text = str(problem)
            for pattern, proposal in _IN_SHELL:
                text = pattern.sub(proposal, text)
            if found := _NAMED.match(text):
                given = [it for it in self.params if _is_given(it, ctx)]
                named = [it for it in given if it.name == found[2]]
                named = named or [it for it in given if str(it.name).endswith(f"_{found[2]}")]  # max_duration
                if len(named) == 1:
                    text = f"{found[1]} {_name(named[0])}{text[found.end() :]}"
            if text == str(problem):
                raise
            raise InputError(text) from problem
        except KeyboardInterrupt as problem:
            end_interrupted(problem)  # typer would exit with 130 for each signal


class Group(TyperGroup):
    """A group of commands whose help shows each command's first sentence whole, under headings.

    The first line of the epilog is a heading, each further one a term and its description, separated by a tab.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show the help, as an error, if nothing was given."""
        if not args and not ctx.resilient_parsing:
            say(self.get_help(ctx))
            raise typer.Exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog as a list of terms."""
        if self.epilog:
            heading, *rows = self.epilog.splitlines()
            with formatter.section(heading):
                formatter.write_dl([tuple(row.split("\t")) for row in rows])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in their groups, then the options."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            text = re.split(r"(?<=\.)\s", command.help or "", maxsplit=1)[0].removesuffix(".")
            panels.setdefault(command.rich_help_panel or "Commands", []).append((name, " ".join(text.split())))
        width = max((len(name) for rows in panels.values() for name, _ in rows), default=0)
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])
        _write_parameters(self, ctx, formatter)


def describe_usage(problem: TyperException) -> str:
    """Describe a wrong use of the command line in one sentence, with a form that works."""
    parameter, cause = getattr(problem, "param", None), problem.__cause__
    if isinstance(parameter, TyperOption | TyperArgument) and isinstance(cause, ValidationError):
        error = _innermost(cause)
        kind = parameter.type_descriptor.annotation
        reason = error.get("ctx", {}).get("error", f"expected {expected_form(kind, parameter.min, parameter.max)}")
        return name_input(str(reason), _name(parameter), str(error["input"]))
    text = " ".join(problem.format_message().split()).removesuffix(".")
    context = getattr(problem, "ctx", None)
    hint = f"; see {context.command_path} --help" if context else ""
    return f"{text[:1].lower()}{text[1:]}{hint}"


def _innermost(problem: ValidationError) -> ErrorDetails:
    """Return the first error, which typer wraps in another one if the parameter is a list."""
    error = problem.errors(include_url=False)[0]
    inner = error.get("ctx", {}).get("error")
    return _innermost(inner) if isinstance(inner, ValidationError) else error


def _name(parameter: Any) -> str:
    """Return the option, or the name of an argument."""
    return str(parameter.opts[0] if isinstance(parameter, TyperOption) else parameter.metavar or parameter.name)


def _is_given(parameter: Any, ctx: Any) -> bool:
    source = ctx.get_parameter_source(parameter.name)
    return source is not None and source.name == "COMMANDLINE"


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    """Write parameters under the headings Arguments, the groups' names, and Options."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        if not parameter.hidden:
            is_option = isinstance(parameter, TyperOption)
            title = (getattr(parameter, "rich_help_panel", None) or "Options") if is_option else "Arguments"
            panels.setdefault(title, []).append(_describe(parameter, ctx))
    last = panels.pop("Options", [])  # those that belong to no group
    for title, rows in [*panels.items(), *([("Options", last)] if last else [])]:
        with formatter.section(title):
            formatter.write_dl(rows)


def _describe(parameter: Any, ctx: Any) -> tuple[str, str]:
    """Return a parameter with its type, and its help with its default."""
    if isinstance(parameter, TyperOption):
        name = ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])  # -h before --help
        if not parameter.is_flag:
            name += f" {parameter.metavar or parameter.display_type(ctx).strip('<>').upper()}"
    else:
        name = parameter.metavar or parameter.name.upper()
    shown = parameter.show_default
    default = shown if isinstance(shown, str) else parameter.default if shown else None
    if default is None or default is False:
        return name, parameter.help or ""
    return name, f"{parameter.help or ''}  [default: {getattr(default, 'value', default)}]".strip()


def _outdent(text: str) -> list[str]:
    """Return the lines of the examples without the indentation of the docstring."""
    lines = text.strip("\n").splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]
