"""`smscode serve`, `deliver`, `app`, `template` and `message`: run the API and administer it."""

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
messages = typer.Typer(help="Look up messages and their delivery.", no_args_is_help=True)

# Options of several commands.
Store = Annotated[
    str | None,
    typer.Option(
        help="URL of the service's store: sqlite:///path.db (relative), sqlite:////path.db (absolute), or"
        " redis://host:port. Default: SMSCODE_STORE, or store in smscode.toml's [service]."
    ),
]
AppKey = Annotated[str, typer.Argument(help="The app's key.", show_default=False)]
Provider = Annotated[
    str | None,
    typer.Option(
        help="How messages are delivered: webhook, smpp, or outbox, which delivers nothing. Default:"
        " SMSCODE_PROVIDER, else outbox."
    ),
]
AdminPort = Annotated[
    int | None,
    typer.Option(help="Serve /healthz, /readyz and /metrics on this port; 0 takes a free one. Default: none."),
]
TtlS = Annotated[int, typer.Option("--ttl", help="Lifetime of a code in seconds, 1 to 86400.")]

# Options of `serve`.
Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")]
Port = Annotated[int | None, typer.Option(help="TCP port; 0 takes a free one. Default: 8018.")]
ServeStore = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///path.db, redis://host:port, or redis+cluster://host:port. Default: SMSCODE_STORE, else a"
        " temporary file that is removed at the end."
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the key of a Redis store, the same on every machine. Default: smscode.key.", dir_okay=False
    ),
]
Workers = Annotated[int | None, typer.Option(help="Number of worker processes; more than 1 need Redis. Default: 1.")]
Production = Annotated[
    bool | None,
    typer.Option("--production", help="Run without the sandbox's extras: peeking and magic mobiles. Default: off."),
]
ExposeSandbox = Annotated[
    bool, typer.Option("--expose-sandbox", help="Allow a sandbox to listen beyond loopback. Default: off.")
]
Speed = Annotated[
    float,
    typer.Option(help="Sandbox: how many times as fast as real time its clock runs. Default: 1.", show_default=False),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(help=f"Rate limit of a mobile, such as 1/60s; repeatable. Default: {' '.join(defaults.RULES)}."),
]
AppRules = Annotated[
    list[str] | None, typer.Option(help="Rate limit of an app, such as 100/1s; repeatable. Default: none.")
]
Tries = Annotated[int | None, typer.Option(help=f"Wrong codes allowed for a message. Default: {defaults.TRIES}.")]
FailuresPerHour = Annotated[
    int | None,
    typer.Option(help=f"Wrong codes allowed for a mobile in an hour. Default: {defaults.FAILURES_PER_HOUR}."),
]
StrictMedia = Annotated[
    bool | None, typer.Option("--strict-media", help="Accept only the media type application/json. Default: off.")
]
AdminHost = Annotated[str | None, typer.Option(help="Address of the admin port. Default: 127.0.0.1.")]
LogCalls = Annotated[
    bool | None,
    typer.Option(
        "--log-calls/--no-log-calls",
        help="Log each call to stderr as a line of JSON. Default: in production.",
        show_default=False,
    ),
]
MaxInFlight = Annotated[
    int | None,
    typer.Option(
        help=f"Calls handled at once; further ones are answered {ReturnCode.SERVER_ERROR:d} at once. Default: 1000."
    ),
]
AddedLatency = Annotated[
    str, typer.Option("--latency", help="Sandbox: added latency, such as 20ms, or 20ms~0.5 for log-normal.")
]
ErrorShare = Annotated[
    float, typer.Option(help=f"Sandbox: share of calls answered {ReturnCode.SERVER_ERROR:d}, 0 to 1.")
]
DropShare = Annotated[
    float, typer.Option(help="Sandbox: share of calls whose connection is closed without a response, 0 to 1.")
]
StallPattern = Annotated[
    str | None,
    typer.Option("--stall", help="Sandbox: answer nothing for 200ms of every 2s if given as 200ms/2s. Default: none."),
]
UntilStdinCloses = Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)]


def serve(
    host: Host = None,
    port: Port = None,
    store: ServeStore = None,
    key_file: KeyFile = None,
    workers: Workers = None,
    production: Production = None,
    expose_sandbox: ExposeSandbox = False,
    speed: Speed = 1.0,
    rule: Rules = None,
    app_rule: AppRules = None,
    tries: Tries = None,
    failures_per_hour: FailuresPerHour = None,
    strict_media: StrictMedia = None,
    admin_port: AdminPort = None,
    admin_host: AdminHost = None,
    log_calls: LogCalls = None,
    max_in_flight: MaxInFlight = None,
    latency: AddedLatency = "0ms",
    error_share: ErrorShare = 0.0,
    drop_share: DropShare = 0.0,
    stall: StallPattern = None,
    provider: Provider = None,
    as_json: Json = False,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Run the API: a sandbox with a ready-made app, or with --production the service alone."""
    from toolkit.service.process import supervisor
    from toolkit.service.process.config import ServiceConfig
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
    supervisor.serve(config, show_json if as_json else _print_exports)


_VARIABLES = {
    "url": "SMSCODE_BASE_URL",
    "app_key": "SMSCODE_APP_KEY",
    "master_secret": "SMSCODE_MASTER_SECRET",
    "temp_id": "SMSCODE_TEMP_ID",
}


def deliver(
    store: Annotated[
        str | None, typer.Option(help="Redis store that the services share, redis://host:port. Default: SMSCODE_STORE.")
    ] = None,
    provider: Provider = None,
    admin_port: AdminPort = None,
) -> None:
    """Deliver the messages of services that share a Redis store. With SQLite the service itself delivers."""
    from toolkit.service.process import runtime
    from toolkit.service.process.config import ServiceConfig
    from toolkit.settings import load_service

    config = ServiceConfig.from_settings(load_service(store=store, provider=provider))
    # An admin port in the settings is the service's, which may run on this machine too.
    runtime.deliver(replace(config, admin_port=admin_port), _announce_delivery)


def _announce_delivery(description: dict[str, Any]) -> None:
    say(f"Delivering by {description['provider']}. Ctrl-C stops it.")
    _announce_admin_port(description)


def _print_exports(description: dict[str, Any]) -> None:
    """Print the settings of a client to stdout, as shell commands, and everything else to stderr."""
    say(f"The SMS code API answers at {description['url']}; Ctrl-C stops it.")
    _announce_admin_port(description)
    if "app_key" in description:
        say("Sandbox: it sends no SMS and spends no money; only the balance of its app counts down.")
    for name, variable in _VARIABLES.items():
        if name in description:
            print(f"export {variable}={shlex.quote(str(description[name]))}")
    sys.stdout.flush()


def _announce_admin_port(description: dict[str, Any]) -> None:
    if "admin_url" in description:
        say(f"/healthz, /readyz and /metrics at {description['admin_url']}")


@apps.command("create")
def app_create(
    store: Store = None,
    balance: Annotated[int, typer.Option(help="Balance in messages.")] = 0,
    ttl_s: TtlS = defaults.TTL_S,
    text: Annotated[
        str, typer.Option(help="Text of a message, with {code} once. The signature counts towards its length.")
    ] = "Your verification code is {code}.",
    as_json: Json = False,
) -> None:
    """Create an app with a first template. Its secret is shown only this once."""
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
    app_key: AppKey,
    messages: Annotated[int, typer.Argument(help="Messages to add; a negative number subtracts.")],
    idempotency_key: Annotated[
        str,
        typer.Option(help="Name of this top-up, e.g. an invoice's number: repeating it adds nothing. Default: none."),
    ] = "",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add messages to an app's balance."""
    arguments = {"app_key": app_key, "messages": messages, "idempotency_key": idempotency_key}
    show([_administer(store, "top_up", **arguments)], as_json)


@apps.command("suspend")
def app_suspend(app_key: AppKey, store: Store = None, as_json: Json = False) -> None:
    """Suspend an app: its calls are answered 'auth failed'."""
    show([_administer(store, "change_app", app_key=app_key, suspended=True)], as_json)


@apps.command("resume")
def app_resume(app_key: AppKey, store: Store = None, as_json: Json = False) -> None:
    """Resume a suspended app."""
    show([_administer(store, "change_app", app_key=app_key, suspended=False)], as_json)


@apps.command("permit")
def app_permit(
    app_key: AppKey,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the permission. Default: off.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Grant an app the SMS-code permission, or revoke it: its sends are answered 'no sms code auth'."""
    show([_administer(store, "change_app", app_key=app_key, permitted=not revoke)], as_json)


@apps.command("rotate")
def app_rotate(
    app_key: AppKey,
    overlap_s: Annotated[int, typer.Option("--overlap", help="Seconds for which the old secret stays valid.")] = 86400,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Give an app a new secret, which is shown only this once. The old one stays valid for a while."""
    rotated = _administer(store, "rotate_secret", app_key=app_key, overlap_s=overlap_s)
    if as_json:
        return show_json(rotated)
    show([rotated], as_json)
    return say("Keep the secret: it can't be shown again.")


@templates.command("add")
def template_add(
    app_key: AppKey,
    text: Annotated[str, typer.Argument(help="Text of a message, with {code} once. The signature is part of it.")],
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
    app_key: Annotated[str | None, typer.Option(help="Only the templates of this app. Default: all.")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List templates with their segments (messages charged for a send) and the lifetime of their codes."""
    show(_administer(store, "list_templates", app_key=app_key), as_json)


@templates.command("disable")
def template_disable(
    temp_id: Annotated[int, typer.Argument(help="The template's number.")], store: Store = None, as_json: Json = False
) -> None:
    """Disable a template: sends with it are answered 'invalid temp_id'."""
    show([_administer(store, "change_template", temp_id=temp_id, enabled=False)], as_json)


@templates.command("enable")
def template_enable(
    temp_id: Annotated[int, typer.Argument(help="The template's number.")], store: Store = None, as_json: Json = False
) -> None:
    """Enable a template that was disabled."""
    show([_administer(store, "change_template", temp_id=temp_id, enabled=True)], as_json)


@templates.command("edit")
def template_edit(
    temp_id: Annotated[int, typer.Argument(help="The template's number.")],
    text: Annotated[str | None, typer.Option(help="New text, with {code} once. Default: unchanged.")] = None,
    ttl_s: Annotated[
        int | None, typer.Option("--ttl", help="New lifetime of a code in seconds. Default: unchanged.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Change a template. Messages that wait for delivery get the new text, at the price of the old one."""
    from toolkit.service.admin.operations import advise_ttl

    if ttl_s is not None and (warning := advise_ttl(ttl_s)):
        say(f"warning: {warning}")
    show([_administer(store, "change_template", temp_id=temp_id, text=text, ttl_s=ttl_s)], as_json)


@messages.command("show")
def message_show(
    msg_id: Annotated[str, typer.Argument(help="The message's msg_id.")], store: Store = None, as_json: Json = False
) -> None:
    """Show a message's state, the carrier's code, the attempts to deliver it, and its times in UTC."""
    shown = _administer(store, "show_message", msg_id=msg_id)
    if as_json:
        return show_json(shown)
    return show([{"message": name, "": value} for name, value in shown.items()])


def _administer(store: str | None, operation: str, **arguments: Any) -> Any:
    from toolkit.service.admin.control_socket import administer
    from toolkit.settings import load_service

    settings = load_service(store=store)
    if settings.store is None:
        raise InputError("no store: give --store sqlite:///path.db or --store redis://host:port, or set SMSCODE_STORE")
    return administer(settings.store, settings.key_file, operation, **arguments)
