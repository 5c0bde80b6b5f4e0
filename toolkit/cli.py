"""`smscode`: the toolkit in a shell. Thin: each command imports what it needs, calls it, and prints.

stdout is data, stderr is talk. Exit 0 done, 1 refused by the API, 2 usage, 3 no answer.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from toolkit.codes import ReturnCode
from toolkit.errors import CallError, InputError, ReturnCodeError, ToolkitError

if TYPE_CHECKING:
    from toolkit.settings import Target

REFUSED, USAGE, NO_ANSWER = 1, 2, 3

app = typer.Typer(
    name="smscode",
    help="Run, load, break, measure and pay for an SMS verification-code API."
    " Exit codes: 0 done, 1 refused by the API, 2 usage, 3 no answer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
apps = typer.Typer(help="Administer the apps of a service: keys, balance, permission.", no_args_is_help=True)
templates = typer.Typer(help="Administer the templates of a service's apps.", no_args_is_help=True)
app.add_typer(apps, name="app")
app.add_typer(templates, name="template")

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table. Default: off.")]
Store = Annotated[
    str | None,
    typer.Option(
        help="Where the service keeps its state: sqlite:///path.db (relative) or sqlite:////path.db (absolute)."
        " Default: SMSCODE_STORE, or store in smscode.toml's [service]."
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--target", help="The API's base URL. Default: SMSCODE_BASE_URL, or base_url in smscode.toml."),
]
AppKey = Annotated[
    str | None, typer.Option(help="The app's key. Default: SMSCODE_APP_KEY, or app_key in smscode.toml.")
]
TtlS = Annotated[int, typer.Option("--ttl", help="How long a code is valid, in seconds, 1 to 86400.")]
Text = Annotated[str, typer.Option(help="The message; holds {code} once. The signature counts towards its length.")]


def main() -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on stderr and an exit code."""
    try:
        app()
    except ReturnCodeError as problem:
        _fail(problem, REFUSED)
    except CallError as problem:
        _fail(problem, NO_ANSWER)
    except ToolkitError as problem:
        _fail(problem, USAGE)
    except ImportError as problem:
        _fail(f"{problem}: install it with pip install 'sms-code-toolkit[all]'", USAGE)
    except Exception as problem:
        _fail(f"a defect of the toolkit: {type(problem).__name__}: {problem}", 70)
    raise SystemExit(0)


def _fail(problem: object, exit_code: int) -> NoReturn:
    say(f"smscode: {problem}")
    raise SystemExit(exit_code)


def say(line: str) -> None:
    """Tell a person something."""
    print(line, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        return show_json(rows)
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else ["nothing"]), box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return Console(width=None if sys.stdout.isatty() else 200).print(table)


# The API's calls.


@app.command()
def send(
    mobile: Annotated[str, typer.Argument(help="Mainland mobile, 11 digits, with or without +86.")],
    temp_id: Annotated[int | None, typer.Option(help="Template. Default: SMSCODE_TEMP_ID, else 1.")] = None,
    target: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Send a code to a mobile, and print the msg_id that verifies it."""
    aim = _target(base_url=target, app_key=app_key, temp_id=temp_id)
    with _client(aim) as client:
        sent = client.send_code(mobile, aim.temp_id)
    show_json({"msg_id": sent.msg_id}) if as_json else print(sent.msg_id)


@app.command()
def verify(
    msg_id: Annotated[str, typer.Argument(help="What the send printed.")],
    code: Annotated[str, typer.Argument(help="The digits that were typed.")],
    target: BaseUrl = None,
    app_key: AppKey = None,
    as_json: Json = False,
) -> None:
    """Verify a typed code. Exit 0 when it is right, 1 when it isn't."""
    with _client(_target(base_url=target, app_key=app_key)) as client:
        verdict = client.verify_code(msg_id, code)
    code_ = verdict.return_code
    if as_json:
        show_json({"is_valid": verdict.is_valid, "return_code": int(code_), "message": code_.message})
    else:
        print(f"{int(code_)} {code_.message}")
    raise SystemExit(0 if verdict.is_valid else REFUSED)


def _target(**arguments: Any) -> Target:
    from toolkit.settings import load_target

    return load_target(**arguments)


def _client(target: Target) -> Any:
    from toolkit.client import Client

    return Client(target.base_url, target.app_key, target.master_secret)


@app.command()
def codes(as_json: Json = False) -> None:
    """Print the API's return codes."""
    show(
        [
            {
                "HTTP": row.http_status,
                "code": int(row),
                "message": row.message,
                "meaning": row.meaning,
                "kind": str(row.kind),
            }
            for row in ReturnCode
        ],
        as_json,
    )


# The service.


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one. Default: 8018.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///path.db. Default: SMSCODE_STORE, else a temporary one that goes with the process."
        ),
    ] = None,
    production: Annotated[
        bool | None, typer.Option("--production", help="No sandbox: no peeking, no magic mobiles. Default: off.")
    ] = None,
    expose_sandbox: Annotated[
        bool, typer.Option("--expose-sandbox", help="Let a sandbox listen beyond loopback. Default: off.")
    ] = False,
    speed: Annotated[
        float,
        typer.Option(help="Sandbox: how many of its seconds pass in one of yours. Default: 1.", show_default=False),
    ] = 1.0,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="At most count sends to a mobile in seconds; repeatable. Default: 1/60s 5/3600s 10/86400s."),
    ] = None,
    app_rule: Annotated[
        list[str] | None, typer.Option(help="At most count sends of an app in seconds; repeatable. Default: none.")
    ] = None,
    tries: Annotated[int | None, typer.Option(help="Wrong codes a message stands. Default: 5.")] = None,
    failures_per_hour: Annotated[
        int | None, typer.Option(help="Wrong codes a mobile stands in an hour. Default: 30.")
    ] = None,
    strict_media: Annotated[
        bool | None, typer.Option("--strict-media", help="Accept application/json alone. Default: off.")
    ] = None,
    latency: Annotated[
        str, typer.Option(help="Sandbox: added latency, 20ms, or 20ms~0.5 for a log-normal one. Default: 0ms.")
    ] = "0ms",
    error_share: Annotated[float, typer.Option(help="Sandbox: share of calls answered 50019, 0 to 1.")] = 0.0,
    drop_share: Annotated[
        float, typer.Option(help="Sandbox: share of calls whose connection is dropped, unanswered, 0 to 1.")
    ] = 0.0,
    stall: Annotated[
        str | None, typer.Option(help="Sandbox: answer nothing for a length in every period, 200ms/2s. Default: none.")
    ] = None,
    as_json: Json = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Run the API: a sandbox with a ready-made app, or with --production the service alone."""
    from toolkit.service.sandbox import Faults, Latency, Stall
    from toolkit.service.server import ServiceConfig
    from toolkit.service.server import serve as run
    from toolkit.settings import load_service

    settings = load_service(
        host=host,
        port=port,
        store=store,
        production=production,
        rules=rule,
        app_rules=app_rule,
        tries=tries,
        failures_per_hour=failures_per_hour,
        strict_media=strict_media,
    )
    faults = Faults(Latency.parse(latency), error_share, drop_share, Stall.parse(stall) if stall else None)
    config = ServiceConfig.of(
        settings, expose_sandbox=expose_sandbox, speed=speed, faults=faults, until_stdin_closes=until_stdin_closes
    )
    run(config, show_json if as_json else _announce)


def _announce(about: dict[str, Any]) -> None:
    print(f"The SMS code API answers at {about['url']}", flush=True)
    if "app_key" in about:
        print("Sandbox: nothing is sent, nothing is charged. Its ready-made app:\n")
        print(f"export SMSCODE_BASE_URL={about['url']}")
        print(f"export SMSCODE_APP_KEY={about['app_key']}")
        print(f"export SMSCODE_MASTER_SECRET={about['master_secret']}")
        print(f"export SMSCODE_TEMP_ID={about['temp_id']}", flush=True)
    say("Ctrl-C stops it.")


@apps.command("create")
def app_create(
    store: Store = None,
    balance: Annotated[int, typer.Option(help="Balance in messages.")] = 0,
    ttl_s: TtlS = 300,
    text: Text = "Your verification code is {code}.",
    as_json: Json = False,
) -> None:
    """Create an app with a first template; its secret is shown now and never again."""
    from toolkit.service.admin import advise_ttl

    created = _administer(store, "create_app", balance=balance, ttl_s=ttl_s, text=text)
    if warning := advise_ttl(ttl_s):
        say(f"warning: {warning}")
    if as_json:
        return show_json(created)
    show([created], as_json)
    return say("Keep the secret: it can't be shown again.")


@apps.command("list")
def app_list(store: Store = None, as_json: Json = False) -> None:
    """List the apps with their balance in messages."""
    show(_administer(store, "list_apps"), as_json)


@apps.command("topup")
def app_topup(
    app_key: Annotated[str, typer.Argument(help="The app's key.")],
    messages: Annotated[int, typer.Argument(help="Messages to add; a negative number takes away.")],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add messages to an app's balance."""
    show([_administer(store, "top_up", app_key=app_key, messages=messages)], as_json)


@apps.command("suspend")
def app_suspend(app_key: str, store: Store = None, as_json: Json = False) -> None:
    """Refuse every call of an app (50002)."""
    show([_administer(store, "change_app", app_key=app_key, suspended=True)], as_json)


@apps.command("resume")
def app_resume(app_key: str, store: Store = None, as_json: Json = False) -> None:
    """Let a suspended app call again."""
    show([_administer(store, "change_app", app_key=app_key, suspended=False)], as_json)


@apps.command("permit")
def app_permit(
    app_key: str,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the permission away. Default: off.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Give an app the permission to send codes, or take it away (50008)."""
    show([_administer(store, "change_app", app_key=app_key, permitted=not revoke)], as_json)


@templates.command("add")
def template_add(
    app_key: Annotated[str, typer.Argument(help="The app's key.")],
    text: Annotated[str, typer.Argument(help="The message; holds {code} once. The signature counts as part of it.")],
    ttl_s: TtlS = 300,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add a template to an app."""
    from toolkit.service.admin import advise_ttl

    if warning := advise_ttl(ttl_s):
        say(f"warning: {warning}")
    show([_administer(store, "add_template", app_key=app_key, text=text, ttl_s=ttl_s)], as_json)


@templates.command("list")
def template_list(
    app_key: Annotated[str | None, typer.Option(help="Only this app's. Default: every app's.")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List templates with their segments (messages charged a send) and lifetime."""
    show(_administer(store, "list_templates", app_key=app_key), as_json)


@templates.command("disable")
def template_disable(temp_id: int, store: Store = None, as_json: Json = False) -> None:
    """Refuse sends with a template (50013)."""
    show([_administer(store, "disable_template", temp_id=temp_id)], as_json)


def _administer(store: str | None, operation: str, **arguments: Any) -> Any:
    from toolkit.service.control import administer
    from toolkit.settings import load_service

    url = load_service(store=store).store
    if url is None:
        raise InputError("no store: give --store sqlite:///path.db, or set SMSCODE_STORE")
    return administer(url, operation, **arguments)
