"""What is configured: which API to call and as whom, and how to run the service. The only reader of the environment.

A setting is taken from the first of these that gives it; an empty one counts as absent:

1. an argument of a ``load_...`` or ``find_...`` function;
2. an environment variable: SMSCODE_ and the setting's name in capitals, such as SMSCODE_BASE_URL;
3. the same names in the file ``.env`` of the current directory;
4. ``smscode.toml`` of the current directory:

       base_url = "https://api.sms.jpush.cn"
       app_key = "..."
       master_secret = "..."
       temp_id = 1                           # without it 1
       price_per_send = "0.045"              # what a send costs: the price of a message times the template's segments
       currency = "CNY"                      # without it CNY

       [[templates]]                         # what a price list tells apart
       temp_id = 1
       type = "code"
       segments = 1                          # without it 1

       [[prices]]                            # where there are some, they hold instead of price_per_send
       since = 2026-11-01                    # a UTC day, from which it holds
       per_segment = "0.045"                 # decimal text
       currency = "CNY"
       template_type = "code"                # without it every type
       carrier = "China Mobile"              # without it every carrier

       [service]                             # how `smscode serve` runs
       store = "sqlite:///sms.db"
       production = true
       rules = ["1/60s", "5/3600s", "10/86400s"]
       provider = "webhook"                  # or "smpp", "outbox"
       webhook_url = "https://sms.example.org/texts"

A secret given as a program's argument can be read by every user of the machine (`ps`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from toolkit.api import defaults
from toolkit.api.errors import InputError, SettingsError
from toolkit.api.wire import parse_base_url
from toolkit.price_list import PriceList, PriceRow, Unit, parse_price_list

_FILE = "smscode.toml"
_PREFIX = "SMSCODE_"
_REQUIRED = ("base_url", "app_key", "master_secret")


@dataclass(frozen=True, slots=True)
class Target:
    """An app at an API. ``temp_id`` is the template that its sends use."""

    base_url: str
    app_key: str
    master_secret: str = field(repr=False)
    temp_id: int = defaults.TEMP_ID


@dataclass(frozen=True, slots=True)
class Price:
    """What one send costs with the target's template, all of its segments; nothing here can read a template's text."""

    per_send: Decimal
    currency: str


def load_target(
    *,
    base_url: str | None = None,
    app_key: str | None = None,
    master_secret: str | None = None,
    temp_id: int | None = None,
) -> Target:
    """Load the target; raise SettingsError, in one line, for a setting that is missing or can't be used."""
    given = _read(_Given, base_url=base_url, app_key=app_key, master_secret=master_secret, temp_id=temp_id)
    return given.target()


def find_target(
    *,
    base_url: str | None = None,
    app_key: str | None = None,
    master_secret: str | None = None,
    temp_id: int | None = None,
) -> Target | None:
    """Load the target as ``load_target`` does, or return None where neither URL, key nor secret is given anywhere."""
    given = _read(_Given, base_url=base_url, app_key=app_key, master_secret=master_secret, temp_id=temp_id)
    return given.target() if any(getattr(given, name) for name in _REQUIRED) else None


def load_price() -> Price | None:
    """Load what a send costs, None where nobody said; raise SettingsError, in one line, for what is no price."""
    given = _read(_Given)
    return Price(given.price_per_send, given.currency) if given.price_per_send is not None else None


def load_prices(path: str | Path | None = None) -> PriceList:
    """Load the price list of a file of its own, or of ``smscode.toml``; raise SettingsError, in one line.

    Where ``smscode.toml`` has no [[prices]], ``price_per_send`` is the price of every send.
    """
    if path is None:
        tables = _load_toml(Path(_FILE)) if Path(_FILE).exists() else {}
        prices = parse_price_list({name: tables[name] for name in _LISTS if name in tables}, _FILE)
        return prices if prices.rows else _price_sends(prices)
    prices = parse_price_list(_load_toml(Path(path)), str(path))
    if not prices.rows:
        raise SettingsError(f"{path} holds no prices: write [[prices]] above each")
    return prices


def _price_sends(prices: PriceList) -> PriceList:
    price = load_price()
    try:
        rows = () if price is None else (PriceRow(date.min, price.per_send, price.currency),)
    except InputError as problem:
        raise SettingsError(f"the price per send can't be used ({problem}): {_ways('price_per_send')}") from None
    return PriceList(rows, prices.templates, Unit.SEND)


def load_service(**arguments: Any) -> ServiceSettings:
    """Load how the service is to run; raise SettingsError, in one line, for a setting that can't be used."""
    return _read(ServiceSettings, **arguments)


class _Settings(BaseSettings):
    """The settings of one table of the file; the table None is its top level."""

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
        """Put the sources in order; the first that gives a setting has it."""
        file = InitSettingsSource(settings_cls, init_kwargs=_read_file()[cls.table])
        return init_settings, env_settings, dotenv_settings, file


def _check_app_key(app_key: str) -> str:
    if ":" in app_key:
        raise ValueError("an app key holds no colon")
    return app_key


class _Given(_Settings):
    """What was given of a target; "" is absent."""

    base_url: Annotated[str, AfterValidator(lambda text: text and parse_base_url(text))] = ""
    app_key: Annotated[str, AfterValidator(_check_app_key)] = ""
    master_secret: SecretStr = SecretStr("")
    temp_id: Annotated[int, Field(ge=0)] = defaults.TEMP_ID
    price_per_send: Annotated[Decimal | None, Field(gt=0)] = None
    currency: str = "CNY"

    def target(self) -> Target:
        """Return the target; raise SettingsError where a part of it is missing."""
        for name in _REQUIRED:
            if not getattr(self, name):
                raise SettingsError(f"no {_words(name)}: {_ways(name)}")
        return Target(self.base_url, self.app_key, self.master_secret.get_secret_value(), self.temp_id)


class ServiceSettings(_Settings):
    """How the service runs. Rules are written count/seconds; ``store`` None is a temporary one.

    ``admin_port`` None: no admin port. ``log_calls`` None: in production.
    ``provider`` is the way out: webhook needs its URL and secret; smpp needs smpp://system_id@host:port and its
    password, and shows ``smpp_source`` as the sender; outbox lets messages wait.
    ``key_file``: of a Redis store's key, the same on every machine. ``workers``: processes, over Redis only.
    """

    table: ClassVar[str | None] = "service"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8018
    store: str | None = None
    key_file: Path = Path("smscode.key")
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    production: bool = False
    strict_media: bool = False
    admin_host: str = "127.0.0.1"
    admin_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    log_calls: bool | None = None
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    rules: Annotated[tuple[str, ...], NoDecode] = defaults.RULES
    app_rules: Annotated[tuple[str, ...], NoDecode] = ()
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
        """Read several rules from one text, as a variable holds them: with spaces or commas between."""
        return value.replace(",", " ").split() if isinstance(value, str) else value


_TABLES: tuple[type[_Settings], ...] = (_Given, ServiceSettings)
_LISTS = ("prices", "templates")  # which toolkit.price_list reads
_S = TypeVar("_S", bound=_Settings)


def _read(settings: type[_S], **arguments: object) -> _S:
    try:
        return settings(**{name: value for name, value in arguments.items() if value is not None and value != ""})
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{_FILE} or .env can't be read: {error}") from None
    except ValidationError as problems:
        problem = problems.errors(include_url=False, include_input=False)[0]
        name, reason = str(problem["loc"][0]), problem["msg"].removeprefix("Value error, ")
    # Outside of the handler: the text of pydantic's error shows what was given, which may be a secret.
    raise SettingsError(f"the {_words(name)} can't be used ({reason}): {_ways(name)}")


def _read_file() -> dict[str | None, dict[str, Any]]:
    """Return the file's settings by table, but for empty ones; raise SettingsError for a name that is none."""
    path = Path(_FILE)
    whole = _load_toml(path) if path.exists() else {}
    whole = {name: it for name, it in whole.items() if name not in _LISTS}
    tables = {name: whole.pop(name, {}) for settings in _TABLES if (name := settings.table)} | {None: whole}
    for settings in _TABLES:
        _check_names(settings, tables[settings.table])
    return {name: {key: it for key, it in table.items() if it != ""} for name, table in tables.items()}


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}") from None


def _check_names(settings: type[_Settings], table: object) -> None:
    if not isinstance(table, dict):
        raise SettingsError(f"{_FILE}: {settings.table} is a table of settings: write [{settings.table}] above them")
    known = settings.model_fields
    for name in table.keys() - known.keys():
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        place = f" in [{settings.table}]" if settings.table else ""
        raise SettingsError(f"{_FILE} has an unknown setting {name}{place}: {hint}")


def _words(name: str) -> str:
    return {"base_url": "base URL"}.get(name, name.replace("_", " "))


def _ways(name: str) -> str:
    return f"set {_PREFIX}{name.upper()}, or {name} in {_FILE}"
