"""`smscode serve`, `deliver`, `app`, `template` and `message`: run the API, administer it, look after its messages."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.api import defaults
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.cli.output import Json, say, show, show_json

apps = typer.Typer(help="Administer the apps of a service: keys, balance, permission.", no_args_is_help=True)
templates = typer.Typer(help="Administer the templates of a service's apps.", no_args_is_help=True)
messages = typer.Typer(help="See what became of messages.", no_args_is_help=True)

Store = Annotated[
    str | None,
    typer.Option(
        help="Where the service keeps its state: sqlite:///path.db (relative), sqlite:////path.db (absolute), or"
        " redis://host:port. Default: SMSCODE_STORE, or store in smscode.toml's [service]."
    ),
]
Key = Annotated[str, typer.Argument(help="The app's key.", show_default=False)]
Provider = Annotated[
    str | None,
    typer.Option(
        help="Way out: webhook, smpp, or outbox, which sends nothing. Default: SMSCODE_PROVIDER, else outbox."
    ),
]
AdminPort = Annotated[
    int | None,
    typer.Option(help="Serve /healthz, /readyz and /metrics on this port; 0 takes a free one. Default: none."),
]
TtlS = Annotated[int, typer.Option("--ttl", help="How long a code is valid, in seconds, 1 to 86400.")]
Text = Annotated[str, typer.Option(help="The message; holds {code} once. The signature counts towards its length.")]


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one. Default: 8018.")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///path.db, redis://host:port, or redis+cluster://host:port. Default: SMSCODE_STORE, else a"
            " temporary one that goes with the process."
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(help="The key of a Redis store, the same on every machine. Default: smscode.key.", dir_okay=False),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="How many processes serve, over Redis only. Default: 1.")] = None,
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
    admin_port: AdminPort = None,
    admin_host: Annotated[str | None, typer.Option(help="Address of the admin port. Default: 127.0.0.1.")] = None,
    log_calls: Annotated[
        bool | None,
        typer.Option(
            "--log-calls/--no-log-calls",
            help="Log a line of JSON for each call, on stderr. Default: in production.",
            show_default=False,
        ),
    ] = None,
    max_in_flight: Annotated[
        int | None,
        typer.Option(
            help=f"Calls under way at once; the others are answered {ReturnCode.SERVER_ERROR:d} at once. Default: 1000."
        ),
    ] = None,
    latency: Annotated[
        str, typer.Option(help="Sandbox: added latency, 20ms, or 20ms~0.5 for a log-normal one. Default: 0ms.")
    ] = "0ms",
    error_share: Annotated[
        float, typer.Option(help=f"Sandbox: share of calls answered {ReturnCode.SERVER_ERROR:d}, 0 to 1.")
    ] = 0.0,
    drop_share: Annotated[
        float, typer.Option(help="Sandbox: share of calls whose connection is dropped, unanswered, 0 to 1.")
    ] = 0.0,
    stall: Annotated[
        str | None, typer.Option(help="Sandbox: answer nothing for a length in every period, 200ms/2s. Default: none.")
    ] = None,
    provider: Provider = None,
    as_json: Json = False,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)] = False,
) -> None:
    """Run the API: a sandbox with a ready-made app, or with --production the service alone."""
    from toolkit.service.process.config import ServiceConfig
    from toolkit.service.process.supervisor import serve as run
    from toolkit.service.sandbox import Faults, Latency, Stall
    from toolkit.settings import load_service

    settings = load_service(
        host=host,
        port=port,
        store=store,
        key_file=key_file,
        workers=workers,
        production=production,
        rules=rule,
        app_rules=app_rule,
        tries=tries,
        failures_per_hour=failures_per_hour,
        strict_media=strict_media,
        admin_host=admin_host,
        admin_port=admin_port,
        log_calls=log_calls,
        max_in_flight=max_in_flight,
        provider=provider,
    )
    faults = Faults(Latency.parse(latency), error_share, drop_share, Stall.parse(stall) if stall else None)
    config = ServiceConfig.from_settings(
        settings, expose_sandbox=expose_sandbox, speed=speed, faults=faults, until_stdin_closes=until_stdin_closes
    )
    run(config, show_json if as_json else _announce)


_VARIABLES = {
    "url": "SMSCODE_BASE_URL",
    "app_key": "SMSCODE_APP_KEY",
    "master_secret": "SMSCODE_MASTER_SECRET",
    "temp_id": "SMSCODE_TEMP_ID",
}


def deliver(
    store: Annotated[
        str | None, typer.Option(help="The Redis that the services share: redis://host:port. Default: SMSCODE_STORE.")
    ] = None,
    provider: Provider = None,
    admin_port: AdminPort = None,
) -> None:
    """Deliver messages beside the services that share a Redis; with SQLite the service itself delivers."""
    from toolkit.service.process.config import ServiceConfig
    from toolkit.service.process.runtime import deliver as run
    from toolkit.settings import load_service

    config = ServiceConfig.from_settings(load_service(store=store, provider=provider))
    # The admin port that is set is the service's, which may run on this machine too.
    run(replace(config, admin_port=admin_port), _announce_worker)


def _announce_worker(about: dict[str, Any]) -> None:
    say(f"Delivering by {about['provider']}. Ctrl-C stops it.")
    _announce_admin(about)


def _announce(about: dict[str, Any]) -> None:
    """Print what a shell can evaluate, and nothing else, on stdout."""
    say(f"The SMS code API answers at {about['url']}; Ctrl-C stops it.")
    _announce_admin(about)
    if "app_key" in about:
        say("Sandbox: no SMS is sent and no money spent; only the balance of its ready-made app counts down.")
    for name, variable in _VARIABLES.items():
        if name in about:
            print(f"export {variable}={shlex.quote(str(about[name]))}")
    sys.stdout.flush()


def _announce_admin(about: dict[str, Any]) -> None:
    if "admin_url" in about:
        say(f"/healthz, /readyz and /metrics at {about['admin_url']}")


@apps.command("create")
def app_create(
    store: Store = None,
    balance: Annotated[int, typer.Option(help="Balance in messages.")] = 0,
    ttl_s: TtlS = defaults.TTL_S,
    text: Text = "Your verification code is {code}.",
    as_json: Json = False,
) -> None:
    """Create an app with a first template; its secret is shown now and never again."""
    from toolkit.service.admin.operations import advise_ttl

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


@apps.command("topup", context_settings={"ignore_unknown_options": True})  # -5 is a number of messages
def app_topup(
    app_key: Key,
    messages: Annotated[int, typer.Argument(help="Messages to add; a negative number takes away.")],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add messages to an app's balance."""
    show([_administer(store, "top_up", app_key=app_key, messages=messages)], as_json)


@apps.command("suspend")
def app_suspend(app_key: Key, store: Store = None, as_json: Json = False) -> None:
    """Refuse every call of an app: auth failed."""
    show([_administer(store, "change_app", app_key=app_key, suspended=True)], as_json)


@apps.command("resume")
def app_resume(app_key: Key, store: Store = None, as_json: Json = False) -> None:
    """Let a suspended app call again."""
    show([_administer(store, "change_app", app_key=app_key, suspended=False)], as_json)


@apps.command("permit")
def app_permit(
    app_key: Key,
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the permission away. Default: off.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Give an app the permission to send codes, or take it away: no sms code auth."""
    show([_administer(store, "change_app", app_key=app_key, permitted=not revoke)], as_json)


@templates.command("add")
def template_add(
    app_key: Key,
    text: Annotated[str, typer.Argument(help="The message; holds {code} once. The signature counts as part of it.")],
    ttl_s: TtlS = defaults.TTL_S,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add a template to an app."""
    from toolkit.service.admin.operations import advise_ttl

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
def template_disable(
    temp_id: Annotated[int, typer.Argument(help="The template's number.")], store: Store = None, as_json: Json = False
) -> None:
    """Refuse sends with a template: invalid temp_id."""
    show([_administer(store, "disable_template", temp_id=temp_id)], as_json)


@messages.command("show")
def message_show(
    msg_id: Annotated[str, typer.Argument(help="The message's msg_id.")], store: Store = None, as_json: Json = False
) -> None:
    """Show what became of a message: its state, the carrier's code, attempts, times in UTC."""
    shown = _administer(store, "show_message", msg_id=msg_id)
    if as_json:
        return show_json(shown)
    return show([{"message": name, "": value} for name, value in shown.items()])


def _administer(store: str | None, operation: str, **arguments: Any) -> Any:
    from toolkit.service.admin.control_socket import administer
    from toolkit.settings import load_service

    settings = load_service(store=store)
    if settings.store is None:
        raise InputError("no store: give --store sqlite:///path.db or redis://host:port, or set SMSCODE_STORE")
    return administer(settings.store, settings.key_file, operation, **arguments)
