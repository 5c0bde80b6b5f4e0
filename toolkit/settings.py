"""Load the settings: the target of calls, prices, and the service's options.

A setting comes from the first of these sources that has it; an empty value counts as absent:

1. an argument of a ``load_...`` or ``find_...`` function;
2. an environment variable: ``SMSCODE_`` and the setting's name in capitals, e.g. SMSCODE_BASE_URL;
3. the same names in the file ``.env`` of the current directory;
4. ``smscode.toml`` of the current directory:

       base_url = "https://api.sms.jpush.cn"
       app_key = "..."
       master_secret = "..."
       temp_id = 1                           # default 1
       price_per_send = "0.045"              # cost of a send: the price of a segment times the template's segments
       currency = "CNY"                      # default CNY
       timezone = "Asia/Shanghai"            # of days, months and bills in reports; default UTC

       [[templates]]                         # see toolkit.price_list
       temp_id = 1
       type = "code"
       segments = 1                          # default 1

       [[prices]]                            # replace price_per_send
       since = 2026-11-01                    # first day
       per_segment = "0.045"                 # decimal text
       currency = "CNY"
       template_type = "code"                # default: all types
       carrier = "China Mobile"              # default: all carriers

       [service]                             # options of `smscode serve`
       store = "sqlite:///sms.db"
       production = true
       rules = ["1/60s", "5/3600s", "10/86400s"]
       provider = "webhook"                  # or "smpp", "outbox"
       webhook_url = "https://sms.example.org/texts"

This is the only module that reads the environment. Don't pass secrets as arguments of a program: every user of the
machine can read them with `ps`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from toolkit.api import defaults
from toolkit.api.errors import InputError, SettingsError
from toolkit.api.rate_rules import Rule
from toolkit.api.wire import parse_base_url
from toolkit.price_list import PriceList, PriceRow, Unit, parse_price_list
from toolkit.time_zone import UTC, parse_timezone
from toolkit.validation import expected_form, suggest

_FILE = "smscode.toml"
_PREFIX = "SMSCODE_"
_REQUIRED = ("base_url", "app_key", "master_secret")

SHARED_STORES = ("redis", "rediss", "redis+cluster", "rediss+cluster")  # several processes can open one at once
STORE_SCHEMES = ("sqlite", *SHARED_STORES)
STORE_URLS = "sqlite:///path.db, or redis://host:port"


@dataclass(frozen=True, slots=True)
class Target:
    """An app at an API, with the template that its sends use."""

    base_url: str
    app_key: str
    master_secret: str = field(repr=False)
    temp_id: int = defaults.TEMP_ID


@dataclass(frozen=True, slots=True)
class Price:
    """The cost of one send with the target's template, all segments included."""

    per_send: Decimal
    currency: str


def load_target(
    *,
    base_url: str | None = None,
    app_key: str | None = None,
    master_secret: str | None = None,
    temp_id: int | None = None,
) -> Target:
    """Load the target.

    Raises SettingsError, with a message of one line, if a setting is missing or invalid.
    """
    settings = _read(_TargetSettings, base_url=base_url, app_key=app_key, master_secret=master_secret, temp_id=temp_id)
    return settings.target()


def find_target(
    *,
    base_url: str | None = None,
    app_key: str | None = None,
    master_secret: str | None = None,
    temp_id: int | None = None,
) -> Target | None:
    """Load the target as ``load_target`` does, or return None if URL, key and secret are all missing."""
    settings = _read(_TargetSettings, base_url=base_url, app_key=app_key, master_secret=master_secret, temp_id=temp_id)
    return settings.target() if any(getattr(settings, name) for name in _REQUIRED) else None


def load_master_secret() -> str:
    """Load the app's master secret; "" if it isn't set."""
    return _read(_TargetSettings).master_secret.get_secret_value()


def load_price() -> Price | None:
    """Load the price of a send, or return None if it isn't set; raise SettingsError for an invalid price."""
    settings = _read(_TargetSettings)
    return Price(settings.price_per_send, settings.currency) if settings.price_per_send is not None else None


def load_prices(path: str | Path | None = None) -> PriceList:
    """Load the price list of a file, by default of ``smscode.toml``.

    If ``smscode.toml`` has no [[prices]], the list consists of ``price_per_send``.
    Raises SettingsError, with a message of one line, if the file can't be read or is invalid.
    """
    if path is None:
        tables = _load_toml(Path(_FILE)) if Path(_FILE).exists() else {}
        prices = parse_price_list({name: tables[name] for name in _LISTS if name in tables}, _FILE)
        price = None if prices.rows else load_price()
        if prices.rows or price is None:
            return prices if prices.rows else PriceList((), prices.templates, Unit.SEND)
        try:
            row = PriceRow(date.min, price.per_send, price.currency)
        except InputError as problem:
            raise SettingsError(f"invalid {_place(_TargetSettings, 'price_per_send')}: {problem}") from None
        return PriceList((row,), prices.templates, Unit.SEND)
    prices = parse_price_list(_load_toml(Path(path)), str(path))
    if not prices.rows:
        raise SettingsError(f"{path} has no prices: write [[prices]] above each row")
    return prices


def load_timezone(timezone: str | None = None) -> str:
    """Load the name of the time zone of reports, by default UTC.

    Raises SettingsError, with a message of one line, for an unknown name in the settings.
    """
    return parse_timezone(timezone) if timezone else _read(_TargetSettings).timezone


def load_service(**arguments: Any) -> ServiceSettings:
    """Load the service's options; raise SettingsError, with a message of one line, for an invalid one."""
    return _read(ServiceSettings, **arguments)


class _Settings(BaseSettings):
    """The settings in one table of the file; the table None is the top level."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore"
    )
    table: ClassVar[str | None] = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence."""
        file = InitSettingsSource(settings_cls, init_kwargs=_read_file()[cls.table])
        return init_settings, env_settings, dotenv_settings, file


def _check_app_key(app_key: str) -> str:
    if ":" in app_key:
        raise ValueError("expected a key without a colon; the secret is another setting")
    return app_key


def _check_store(url: str) -> str:
    if url.partition(":")[0] not in STORE_SCHEMES:
        raise ValueError(f"expected {STORE_URLS}")
    return url


def _check_rule(text: str) -> str:
    Rule.parse(text)
    return text


class _TargetSettings(_Settings):
    """The settings of the target; "" is absent.

    Attributes:
        base_url: URL of the API, such as https://api.sms.jpush.cn; no default.
        app_key: key of the app; no default.
        master_secret: secret of the app; no default.
        temp_id: template of sends.
        price_per_send: cost of a send with all segments of its template, as a decimal; for budgets and cost.
        currency: currency of price_per_send.
        timezone: IANA time zone of days, months and bills in reports.

    """

    base_url: Annotated[str, AfterValidator(lambda text: text and parse_base_url(text))] = ""
    app_key: Annotated[str, AfterValidator(_check_app_key)] = ""
    master_secret: SecretStr = SecretStr("")
    temp_id: Annotated[int, Field(ge=0)] = defaults.TEMP_ID
    price_per_send: Annotated[Decimal | None, Field(gt=0)] = None
    currency: str = "CNY"
    timezone: Annotated[str, AfterValidator(parse_timezone)] = UTC

    def target(self) -> Target:
        """Return the target; raise SettingsError if a part is missing."""
        for name in _REQUIRED:
            if not getattr(self, name):
                raise SettingsError(f"no {_words(name)}: {_ways(name)}")
        return Target(self.base_url, self.app_key, self.master_secret.get_secret_value(), self.temp_id)


class ServiceSettings(_Settings):
    """The options of the service.

    Attributes:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        store: URL of the store; None is a temporary store, which only a sandbox may have.
        key_file: key of a Redis store, the same file on every machine.
        workers: number of processes; more than one needs Redis.
        production: run without the sandbox's functions, with a provider that delivers.
        strict_media: accept only application/json.
        admin_host: address of the admin port.
        admin_port: port for metrics and health; None opens no port.
        log_calls: log every call; None logs them in production.
        max_in_flight: requests handled at once; more are refused.
        rules: rate rules of sends to one mobile, COUNT/DURATION.
        app_rules: rate rules of sends of one app.
        tries: wrong codes allowed per message.
        failures_per_hour: wrong codes allowed per mobile and hour.
        provider: delivery of messages: outbox keeps them, webhook needs its URL and secret, smpp its URL and password.
        webhook_url: URL that receives each message.
        webhook_secret: secret that signs the requests.
        smpp_url: smpp://system_id@host:port.
        smpp_password: password of the system_id.
        smpp_source: sender that phones show.

    """

    table: ClassVar[str | None] = "service"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8018
    store: Annotated[str | None, AfterValidator(lambda url: url and _check_store(url))] = None
    key_file: Path = Path("smscode.key")
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    production: bool = False
    strict_media: bool = False
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    log_calls: bool | None = None
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    rules: Annotated[tuple[Annotated[str, AfterValidator(_check_rule)], ...], NoDecode] = defaults.RULES
    app_rules: Annotated[tuple[Annotated[str, AfterValidator(_check_rule)], ...], NoDecode] = ()
    tries: Annotated[int, Field(ge=1, le=255)] = defaults.TRIES
    failures_per_hour: Annotated[int, Field(ge=1)] = defaults.FAILURES_PER_HOUR
    provider: Literal["outbox", "webhook", "smpp"] | None = None
    webhook_url: str = ""
    webhook_secret: SecretStr = SecretStr("")
    smpp_url: str = ""
    smpp_password: SecretStr = SecretStr("")
    smpp_source: str = ""

    @field_validator("rules", "app_rules", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        """Split a text of several rules at blanks and commas: a variable has all rules in one text."""
        return value.replace(",", " ").split() if isinstance(value, str) else value


_TABLES: tuple[type[_Settings], ...] = (_TargetSettings, ServiceSettings)
_LISTS = ("prices", "templates")  # toolkit.price_list parses these
_S = TypeVar("_S", bound=_Settings)


def _read(settings: type[_S], **arguments: object) -> _S:
    given = {name: value for name, value in arguments.items() if value is not None and value != ""}
    try:
        return settings(**given)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{_FILE} or .env can't be read: {error}") from None
    except ValidationError as problems:
        problem = problems.errors(include_url=False, include_input=False)[0]
    # Raised outside of the handler: pydantic's error, its context, shows the value, which may be a secret.
    name = str(problem["loc"][0])
    place = name if name in given else _place(settings, name)
    raise SettingsError(f"invalid {place}: {_expectation(settings, name, problem)}")


def _place(settings: type[_Settings], name: str) -> str:
    """Return the variable or the name in a file that a setting was read from."""
    variable = f"{_PREFIX}{name.upper()}"
    if variable.lower() in EnvSettingsSource(settings).env_vars:
        return variable
    if variable.lower() in DotEnvSettingsSource(settings).env_vars:
        return f"{variable} in .env"
    return f"{name} in {_table(settings)}"


def _expectation(settings: type[_Settings], name: str, problem: ErrorDetails) -> str:
    """Return the form that a setting has to have, without its value."""
    if problem["type"] == "value_error":
        reason = str(problem["ctx"]["error"])
        return reason.partition(": ")[2] if reason.startswith("invalid ") else reason
    field = settings.model_fields[name]
    bounds = {key: getattr(it, key) for it in field.metadata for key in ("ge", "gt", "le") if hasattr(it, key)}
    above = f" above {bounds['gt']}" if "gt" in bounds else ""
    return f"expected {expected_form(field.annotation, bounds.get('ge'), bounds.get('le'))}{above}"


def _read_file() -> dict[str | None, dict[str, Any]]:
    """Return the file's non-empty settings by table; raise SettingsError for an unknown name."""
    path = Path(_FILE)
    whole = _load_toml(path) if path.exists() else {}
    whole = {name: it for name, it in whole.items() if name not in _LISTS}
    tables = {name: whole.pop(name, {}) for settings in _TABLES if (name := settings.table)} | {None: whole}
    for settings in _TABLES:
        table, known = tables[settings.table], settings.model_fields
        if not isinstance(table, dict):
            raise SettingsError(
                f"{_FILE}: {settings.table} must be a table: write [{settings.table}] above its settings"
            )
        for name in table.keys() - known.keys():
            raise SettingsError(f"unknown setting {name} in {_table(settings)} ({suggest(name, known)})")
    return {name: {key: it for key, it in table.items() if it != ""} for name, table in tables.items()}


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(f"{path} can't be read: {reason}") from None


def _table(settings: type[_Settings]) -> str:
    return f"[{settings.table}] of {_FILE}" if settings.table else _FILE


def _words(name: str) -> str:
    return {"base_url": "base URL"}.get(name, name.replace("_", " "))


def _ways(name: str) -> str:
    return f"set {_PREFIX}{name.upper()}, or {name} in {_FILE}"
