"""`smscode serve`, `deliver`, `app`, `template` and `message`: run the API and administer it."""

from __future__ import annotations

import selectors
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.api import defaults
from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.cli.command import Command, Group
from toolkit.cli.output import Json, say, show, show_json
from toolkit.settings import ServiceSettings

apps = typer.Typer(cls=Group, help="Administer the apps of a service: keys, balance, permission.")
templates = typer.Typer(cls=Group, help="Administer the templates of a service's apps.")
messages = typer.Typer(cls=Group, help="Look up messages and their delivery.")


def _setting(name: str, flag: str, help: str, metavar: str = "", *, group: str, default: str = "") -> Any:
    """Return an option for a setting, whose value ``load_service`` checks. Without a ``metavar`` it is a flag."""
    value = default or ServiceSettings.model_fields[name].default
    words = "off" if value is False else " ".join(value) if isinstance(value, tuple) else value
    return typer.Option(
        flag,
        help=help,
        metavar=metavar or None,
        show_default=f"SMSCODE_{name.upper()}, else {words}",
        rich_help_panel=group,
    )


_NETWORK, _STORE, _LIMITS, _DELIVERY, _MONITORING, _SANDBOX = (
    "Network",
    "Store",
    "Limits",
    "Delivery",
    "Monitoring",
    "Sandbox",
)

# Options of several commands.
Store = Annotated[
    str | None,
    typer.Option(
        help="URL of the service's store: sqlite:///path.db (relative), sqlite:////path.db (absolute), or"
        " redis://host:port.",
        metavar="URL",
        show_default="SMSCODE_STORE, or store in [service] of smscode.toml",
        rich_help_panel=_STORE,
    ),
]
AppKey = Annotated[str, typer.Argument(help="The app's key.", metavar="APP_KEY", show_default=False)]
TemplateNumber = Annotated[
    int, typer.Argument(help="The template's number.", metavar="TEMP_ID", show_default=False, min=0)
]
Provider = Annotated[
    str | None,
    _setting(
        "provider",
        "--provider",
        "How messages are delivered: webhook, smpp, or outbox, which delivers nothing.",
        "webhook|smpp|outbox",
        group=_DELIVERY,
        default="outbox",
    ),
]
TtlS = Annotated[int, typer.Option("--ttl", help="Lifetime of a code, 1 to 86400.", metavar="SECONDS")]

# Options of `serve`.
Host = Annotated[str | None, _setting("host", "--host", "Address to listen on.", "HOST", group=_NETWORK)]
Port = Annotated[int | None, _setting("port", "--port", "TCP port; 0 takes a free one.", "PORT", group=_NETWORK)]
ServeStore = Annotated[
    str | None,
    _setting(
        "store",
        "--store",
        "sqlite:///path.db, redis://host:port, or redis+cluster://host:port.",
        "URL",
        group=_STORE,
        default="of a sandbox, a temporary file that is removed at the end; needed with --production",
    ),
]
KeyFile = Annotated[
    Path | None,
    _setting("key_file", "--key-file", "Key of a Redis store, the same on every machine.", "FILE", group=_STORE),
]
Workers = Annotated[
    int | None,
    _setting("workers", "--workers", "Number of worker processes; more than 1 need Redis.", "NUMBER", group=_NETWORK),
]
Production = Annotated[
    bool | None,
    _setting(
        "production",
        "--production",
        "Run without the sandbox's functions, such as reading codes and magic mobiles.",
        group=_DELIVERY,
    ),
]
ExposeSandbox = Annotated[
    bool,
    typer.Option(
        "--expose-sandbox",
        help="Allow a sandbox to listen beyond loopback.",
        show_default=False,
        rich_help_panel=_SANDBOX,
    ),
]
Speed = Annotated[
    float,
    typer.Option(help="Speed of its clock relative to real time, e.g. 60.", metavar="FACTOR", rich_help_panel=_SANDBOX),
]
Rules = Annotated[
    list[str] | None,
    _setting("rules", "--rule", "Rate limit of a mobile. Repeatable.", "COUNT/DURATION", group=_LIMITS),
]
AppRules = Annotated[
    list[str] | None,
    _setting(
        "app_rules",
        "--app-rule",
        "Rate limit of an app, such as 100/1s. Repeatable.",
        "COUNT/DURATION",
        group=_LIMITS,
        default="none",
    ),
]
Tries = Annotated[
    int | None, _setting("tries", "--tries", "Wrong codes allowed for a message.", "NUMBER", group=_LIMITS)
]
SandboxTtlS = Annotated[
    int | None,
    typer.Option(
        "--ttl",
        help="Lifetime of the codes of the ready-made app's template, 1 to 86400.",
        metavar="SECONDS",
        show_default=f"{defaults.TTL_S}",
        rich_help_panel=_SANDBOX,
    ),
]
FailuresPerHour = Annotated[
    int | None,
    _setting(
        "failures_per_hour",
        "--failures-per-hour",
        "Wrong codes allowed for a mobile in an hour.",
        "NUMBER",
        group=_LIMITS,
    ),
]
StrictMedia = Annotated[
    bool | None,
    _setting("strict_media", "--strict-media", "Accept only the media type application/json.", group=_LIMITS),
]
AdminPort = Annotated[
    int | None,
    _setting(
        "admin_port",
        "--admin-port",
        "Serve /healthz, /readyz and /metrics on this port; 0 takes a free one.",
        "PORT",
        group=_MONITORING,
        default="no port",
    ),
]
DeliverAdminPort = Annotated[
    int | None,
    typer.Option(
        help="Serve /healthz, /readyz and /metrics on this port; 0 takes a free one.",
        metavar="PORT",
        min=0,
        max=65535,
        show_default="no port",
        rich_help_panel=_MONITORING,
    ),
]
AdminHost = Annotated[
    str | None, _setting("admin_host", "--admin-host", "Address of the admin port.", "HOST", group=_MONITORING)
]
LogCalls = Annotated[
    bool | None,
    _setting(
        "log_calls",
        "--log-calls/--no-log-calls",
        "Log each call to stderr as a line of JSON.",
        group=_MONITORING,
        default="in production",
    ),
]
MaxInFlight = Annotated[
    int | None,
    _setting(
        "max_in_flight",
        "--max-in-flight",
        f"Calls handled at once; further ones are answered {ReturnCode.SERVER_ERROR:d}.",
        "NUMBER",
        group=_LIMITS,
    ),
]
AddedLatency = Annotated[
    str,
    typer.Option(
        "--latency",
        help="Added latency, such as 20ms, or 20ms~0.5 for log-normal.",
        metavar="DURATION[~SIGMA]",
        rich_help_panel=_SANDBOX,
    ),
]
ErrorShare = Annotated[
    float,
    typer.Option(
        help=f"Share of calls answered {ReturnCode.SERVER_ERROR:d}, 0 to 1.",
        metavar="SHARE",
        rich_help_panel=_SANDBOX,
    ),
]
DropShare = Annotated[
    float,
    typer.Option(
        help="Share of calls whose connection is closed without a response, 0 to 1.",
        metavar="SHARE",
        rich_help_panel=_SANDBOX,
    ),
]
StallPattern = Annotated[
    str | None,
    typer.Option(
        "--stall",
        help="Stall regularly: with 200ms/2s, no response leaves for 200 ms of every 2 s.",
        metavar="LENGTH/PERIOD",
        show_default="none",
        rich_help_panel=_SANDBOX,
    ),
]
UntilStdinCloses = Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)]


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    store: ServeStore = None,
    key_file: KeyFile = None,
    production: Production = None,
    provider: Provider = None,
    rules: Rules = None,
    app_rules: AppRules = None,
    tries: Tries = None,
    failures_per_hour: FailuresPerHour = None,
    max_in_flight: MaxInFlight = None,
    strict_media: StrictMedia = None,
    admin_port: AdminPort = None,
    admin_host: AdminHost = None,
    log_calls: LogCalls = None,
    expose_sandbox: ExposeSandbox = False,
    speed: Speed = 1.0,
    ttl_s: SandboxTtlS = None,
    latency: AddedLatency = "0ms",
    error_share: ErrorShare = 0.0,
    drop_share: DropShare = 0.0,
    stall: StallPattern = None,
    as_json: Json = False,
    until_stdin_closes: UntilStdinCloses = False,
) -> None:
    """Run the API: a sandbox with a ready-made app, or with --production the service alone.

    Settings that are not given come from SMSCODE_* variables, .env, and [service] of smscode.toml, in this order.

    Examples:
        A sandbox in this terminal, which prints the settings of a client:

        $ smscode serve --port 8018
        export SMSCODE_BASE_URL=http://127.0.0.1:8018
        export SMSCODE_APP_KEY=...
        ...

        A sandbox that is slow and fails now and then:

        $ smscode serve --port 8018 --latency 20ms~0.5 --error-share 0.01 --json
        {"url": "http://127.0.0.1:8018", ...

    """
    from toolkit.service.process import supervisor
    from toolkit.service.process.config import ServiceConfig
    from toolkit.service.sandbox.faults import Faults, Latency, Stall
    from toolkit.settings import load_service

    if expose_sandbox and production:
        raise InputError("--expose-sandbox and --production exclude one another: production has no sandbox")
    if until_stdin_closes and not _can_watch_stdin():
        raise InputError(
            "--until-stdin-closes needs a stdin that the parent process can close, e.g. subprocess.PIPE;"
            " a file, /dev/null and a closed stdin cannot be watched"
        )
    settings = load_service(
        host=host,
        port=port,
        store=store,
        key_file=key_file,
        workers=workers,
        production=production,
        rules=rules,
        app_rules=app_rules,
        tries=tries,
        failures_per_hour=failures_per_hour,
        strict_media=strict_media,
        admin_host=admin_host,
        admin_port=admin_port,
        log_calls=log_calls,
        max_in_flight=max_in_flight,
        provider=provider,
    )
    if admin_host and settings.admin_port is None:
        raise InputError("--admin-host has no effect without --admin-port: give a port, e.g. 9101")
    if key_file and not (settings.store or "").startswith("redis"):
        raise InputError("--key-file has no effect on a SQLite store, which has its own key: leave it out")
    faults = Faults(Latency.parse(latency), error_share, drop_share, Stall.parse(stall) if stall else None)
    config = ServiceConfig.from_settings(
        settings,
        expose_sandbox=expose_sandbox,
        speed=speed,
        ttl_s=ttl_s,
        faults=faults,
        until_stdin_closes=until_stdin_closes,
    )
    supervisor.serve(config, show_json if as_json else _print_exports)


def _can_watch_stdin() -> bool:
    """Return whether an event loop can wait for the end of stdin: it can't in a file, in /dev/null and without one."""
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(sys.stdin, selectors.EVENT_READ)
        except (OSError, ValueError):
            return False
    return True


_VARIABLES = {
    "url": "SMSCODE_BASE_URL",
    "app_key": "SMSCODE_APP_KEY",
    "master_secret": "SMSCODE_MASTER_SECRET",
    "temp_id": "SMSCODE_TEMP_ID",
}


def deliver(
    store: Annotated[
        str | None,
        typer.Option(
            help="Redis store that the services share, redis://host:port.",
            metavar="URL",
            show_default="SMSCODE_STORE, or store in [service] of smscode.toml",
            rich_help_panel=_STORE,
        ),
    ] = None,
    provider: Provider = None,
    admin_port: DeliverAdminPort = None,
) -> None:
    """Deliver the messages of services that share a Redis store. With SQLite the service itself delivers.

    The provider's URL and secret are settings: SMSCODE_WEBHOOK_URL and SMSCODE_WEBHOOK_SECRET, or SMSCODE_SMPP_URL and
    SMSCODE_SMPP_PASSWORD.

    Examples:
        $ smscode deliver --store redis://127.0.0.1:6379 --provider webhook
        Delivering by webhook. Ctrl-C stops it.

        $ smscode deliver --store redis://127.0.0.1:6379 --provider webhook --admin-port 9101
        Delivering by webhook. Ctrl-C stops it.
        /healthz, /readyz and /metrics at http://127.0.0.1:9101

    """
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
        key, secret = description["app_key"], description["master_secret"]
        say(f"Its inbox: {description['url']}/sandbox#{key}:{secret}")
    for name, variable in _VARIABLES.items():
        if name in description:
            print(f"export {variable}={shlex.quote(str(description[name]))}")
    sys.stdout.flush()


def _announce_admin_port(description: dict[str, Any]) -> None:
    if "admin_url" in description:
        say(f"/healthz, /readyz and /metrics at {description['admin_url']}")


@apps.command("create", cls=Command)
def app_create(
    store: Store = None,
    balance: Annotated[int, typer.Option(help="Balance in messages.", metavar="NUMBER")] = 0,
    ttl_s: TtlS = defaults.TTL_S,
    text: Annotated[
        str,
        typer.Option(
            help="Text of a message, with {code} once. The signature counts towards its length.", metavar="TEXT"
        ),
    ] = "Your verification code is {code}.",
    as_json: Json = False,
) -> None:
    """Create an app with a first template. Its secret is shown only this once.

    Examples:
        $ smscode app create --store sqlite:///sms.db --balance 1000
        app_key ...  master_secret ...  temp_id
        ...

        $ smscode app create --store sqlite:///sms.db --ttl 120 --text 'Shop: {code} is your code.' --json
        {"app_key": "...", "master_secret": "...", "temp_id": ...}

    """
    from toolkit.service.admin.operations import advise_ttl

    created = _administer(store, "create_app", balance=balance, ttl_s=ttl_s, text=text)
    if warning := advise_ttl(ttl_s):
        say(f"warning: {warning}")
    if as_json:
        return show_json(created)
    show([created], as_json)
    return say("Keep the secret: it can't be shown again.")


@apps.command("list", cls=Command)
def app_list(store: Store = None, as_json: Json = False) -> None:
    """List the apps with their balance in messages.

    Examples:
        $ smscode app list --store sqlite:///sms.db
        app_key ... balance ...
        ...

        $ smscode app list --store sqlite:///sms.db --json
        [{"app_key": "...", ...}]

    """
    show(_administer(store, "list_apps"), as_json)


@apps.command("topup", cls=Command, context_settings={"ignore_unknown_options": True})  # -5 is a number of messages
def app_topup(
    app_key: AppKey,
    messages: Annotated[int, typer.Argument(help="Messages to add; a negative number subtracts.", metavar="MESSAGES")],
    idempotency_key: Annotated[
        str,
        typer.Option(
            help="Name of this top-up, e.g. an invoice's number: repeating it adds nothing.",
            metavar="NAME",
            show_default="none",
        ),
    ] = "",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add messages to an app's balance.

    Examples:
        $ smscode app topup APP_KEY 5000 --store sqlite:///sms.db --idempotency-key invoice-2026-118
        ...

        $ smscode app topup APP_KEY -200 --store sqlite:///sms.db
        ...

    """
    arguments = {"app_key": app_key, "messages": messages, "idempotency_key": idempotency_key}
    show([_administer(store, "top_up", **arguments)], as_json)


@apps.command("suspend", cls=Command)
def app_suspend(app_key: AppKey, store: Store = None, as_json: Json = False) -> None:
    """Suspend an app: its calls are answered 'auth failed'.

    Examples:
        $ smscode app suspend APP_KEY --store sqlite:///sms.db
        ...

        $ smscode app suspend APP_KEY --store sqlite:///sms.db --json
        [{...}]

    """
    show([_administer(store, "change_app", app_key=app_key, suspended=True)], as_json)


@apps.command("resume", cls=Command)
def app_resume(app_key: AppKey, store: Store = None, as_json: Json = False) -> None:
    """Resume a suspended app.

    Examples:
        $ smscode app resume APP_KEY --store sqlite:///sms.db
        ...

        $ smscode app resume APP_KEY --store sqlite:///sms.db --json
        [{...}]

    """
    show([_administer(store, "change_app", app_key=app_key, suspended=False)], as_json)


@apps.command("permit", cls=Command)
def app_permit(
    app_key: AppKey,
    revoke: Annotated[bool, typer.Option("--revoke", help="Revoke the permission.", show_default=False)] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Grant an app the SMS-code permission, or revoke it: its sends are answered 'no sms code auth'.

    Examples:
        $ smscode app permit APP_KEY --store sqlite:///sms.db
        ...

        $ smscode app permit APP_KEY --revoke --store sqlite:///sms.db
        ...

    """
    show([_administer(store, "change_app", app_key=app_key, permitted=not revoke)], as_json)


@apps.command("rotate", cls=Command)
def app_rotate(
    app_key: AppKey,
    overlap_s: Annotated[
        int, typer.Option("--overlap", help="Time for which the old secret stays valid.", metavar="SECONDS")
    ] = 86400,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Create a new secret for an app, shown only this once. The old one stays valid for a while.

    Examples:
        $ smscode app rotate APP_KEY --store sqlite:///sms.db
        ...

        The old secret ends at once:

        $ smscode app rotate APP_KEY --overlap 0 --store sqlite:///sms.db --json
        {"app_key": "...", ...}

    """
    rotated = _administer(store, "rotate_secret", app_key=app_key, overlap_s=overlap_s)
    if as_json:
        return show_json(rotated)
    show([rotated], as_json)
    return say("Keep the secret: it can't be shown again.")


@templates.command("add", cls=Command)
def template_add(
    app_key: AppKey,
    text: Annotated[
        str, typer.Argument(help="Text of a message, with {code} once. The signature is part of it.", metavar="TEXT")
    ],
    ttl_s: TtlS = defaults.TTL_S,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Add a template to an app.

    Examples:
        $ smscode template add APP_KEY 'Shop: {code} is your code.' --store sqlite:///sms.db
        ...

        $ smscode template add APP_KEY '{code}: valid for two minutes' --ttl 120 --store sqlite:///sms.db --json
        [{...}]

    """
    from toolkit.service.admin.operations import advise_ttl

    if warning := advise_ttl(ttl_s):
        say(f"warning: {warning}")
    show([_administer(store, "add_template", app_key=app_key, text=text, ttl_s=ttl_s)], as_json)


@templates.command("list", cls=Command)
def template_list(
    app_key: Annotated[
        str | None, typer.Option(help="Only the templates of this app.", metavar="APP_KEY", show_default="all apps")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List templates with their segments (messages charged for a send) and the lifetime of their codes.

    Examples:
        $ smscode template list --store sqlite:///sms.db
        temp_id ... segments ...
        ...

        $ smscode template list --app-key APP_KEY --store sqlite:///sms.db --json
        [{...}]

    """
    show(_administer(store, "list_templates", app_key=app_key), as_json)


@templates.command("disable", cls=Command)
def template_disable(temp_id: TemplateNumber, store: Store = None, as_json: Json = False) -> None:
    """Disable a template: sends with it are answered 'invalid temp_id'.

    Examples:
        $ smscode template disable 1 --store sqlite:///sms.db
        ...

        $ smscode template disable 1 --store sqlite:///sms.db --json
        [{...}]

    """
    show([_administer(store, "change_template", temp_id=temp_id, enabled=False)], as_json)


@templates.command("enable", cls=Command)
def template_enable(temp_id: TemplateNumber, store: Store = None, as_json: Json = False) -> None:
    """Enable a template that was disabled.

    Examples:
        $ smscode template enable 1 --store sqlite:///sms.db
        ...

        $ smscode template enable 1 --store sqlite:///sms.db --json
        [{...}]

    """
    show([_administer(store, "change_template", temp_id=temp_id, enabled=True)], as_json)


@templates.command("edit", cls=Command)
def template_edit(
    temp_id: TemplateNumber,
    text: Annotated[
        str | None, typer.Option(help="New text, with {code} once.", metavar="TEXT", show_default="unchanged")
    ] = None,
    ttl_s: Annotated[
        int | None,
        typer.Option("--ttl", help="New lifetime of a code, 1 to 86400.", metavar="SECONDS", show_default="unchanged"),
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Change a template. Messages that wait for delivery get the new text, at the price of the old one.

    Examples:
        $ smscode template edit 1 --text 'Your code: {code}' --store sqlite:///sms.db
        ...

        $ smscode template edit 1 --ttl 120 --store sqlite:///sms.db
        ...

    """
    from toolkit.service.admin.operations import advise_ttl

    if text is None and ttl_s is None:
        raise InputError("nothing to change: give --text or --ttl, e.g. --ttl 300")
    if ttl_s is not None and (warning := advise_ttl(ttl_s)):
        say(f"warning: {warning}")
    show([_administer(store, "change_template", temp_id=temp_id, text=text, ttl_s=ttl_s)], as_json)


@messages.command("show", cls=Command)
def message_show(
    msg_id: Annotated[str, typer.Argument(help="The message's msg_id.", metavar="MSG_ID")],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Show a message's state, the carrier's code, the attempts to deliver it, and its times in UTC.

    Examples:
        $ smscode message show MSG_ID --store sqlite:///sms.db
        message ...
        state ...
        ...

        $ smscode message show MSG_ID --store sqlite:///sms.db --json
        {"msg_id": "MSG_ID", ...}

    """
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
