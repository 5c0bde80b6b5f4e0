"""What is configured: which API to call and as whom, and how to run the service. The only reader of the environment.

A value comes from the first that gives it: an argument, a ``SMSCODE_*`` variable, ``.env``, ``smscode.toml`` (the last
two in the current directory). An empty variable counts as absent. The file::

    base_url = "http://127.0.0.1:8018"   # SMSCODE_BASE_URL
    app_key = "7d431e42dfa6a6d693ac2d04" # SMSCODE_APP_KEY
    master_secret = "..."                # SMSCODE_MASTER_SECRET
    temp_id = 1                          # SMSCODE_TEMP_ID; default 1

    [service]                            # how `smscode serve` runs; SMSCODE_STORE, SMSCODE_PRODUCTION, ...
    store = "sqlite:///sms.db"
    production = true
    rules = ["1/60s", "5/3600s", "10/86400s"]
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from toolkit.errors import SettingsError

TOML_NAME = "smscode.toml"
PREFIX = "SMSCODE_"


@dataclass(frozen=True, slots=True)
class Target:
    """An API to call, and an app to call it as."""

    base_url: str
    app_key: str
    master_secret: str = field(repr=False)
    temp_id: int = 1


class _Settings(BaseSettings):
    """One table of the file; what the file holds gives way to the environment, and that to arguments."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore")
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
        """Return the sources, first wins."""
        file = InitSettingsSource(settings_cls, init_kwargs=_read_table(cls))
        return init_settings, env_settings, dotenv_settings, file


class _TargetSettings(_Settings):
    base_url: str | None = None
    app_key: str | None = None
    master_secret: SecretStr | None = None
    temp_id: Annotated[int, Field(ge=0)] = 1


class ServiceSettings(_Settings):
    """How `smscode serve` runs. ``store`` None: a temporary one. Rules are written count/seconds."""

    table: ClassVar[str | None] = "service"

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8018
    store: str | None = None
    production: bool = False
    strict_media: bool = False
    rules: Annotated[tuple[str, ...], NoDecode] = ("1/60s", "5/3600s", "10/86400s")
    app_rules: Annotated[tuple[str, ...], NoDecode] = ()
    tries: Annotated[int, Field(ge=1, le=255)] = 5
    failures_per_hour: Annotated[int, Field(ge=1)] = 30

    @field_validator("rules", "app_rules", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        """Read rules from one text, as a variable holds them."""
        return value.replace(",", " ").split() if isinstance(value, str) else value


_TABLES = (_TargetSettings, ServiceSettings)
S = TypeVar("S", bound=_Settings)


def load_target(**arguments: Any) -> Target:
    """Return the configured target; raise SettingsError where a part of it is missing or can't be used."""
    given = _read(_TargetSettings, arguments)
    if given.base_url is None:
        raise _missing("base_url")
    if given.app_key is None:
        raise _missing("app_key")
    if given.master_secret is None:
        raise _missing("master_secret")
    return Target(given.base_url, given.app_key, given.master_secret.get_secret_value(), given.temp_id)


def find_target(**arguments: Any) -> Target | None:
    """Return the configured target, or None where nothing of one is given anywhere."""
    given = _read(_TargetSettings, arguments)
    nothing = given.base_url is None and given.app_key is None and given.master_secret is None
    return None if nothing else load_target(**arguments)


def load_service(**arguments: Any) -> ServiceSettings:
    """Return how the service is to run; raise SettingsError for what can't be used."""
    return _read(ServiceSettings, arguments)


def _missing(name: str) -> SettingsError:
    return SettingsError(f"no {name.replace('_', ' ')}: set {PREFIX}{name.upper()}, or {name} in {TOML_NAME}")


def _read(settings: type[S], arguments: dict[str, Any]) -> S:
    try:
        return settings(**{name: value for name, value in arguments.items() if value is not None})
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        raise SettingsError(f"{name} ({PREFIX}{name.upper()}): {first['msg']}") from None
    except UnicodeDecodeError:
        raise SettingsError(".env: not a text file in UTF-8") from None


def _read_table(settings: type[_Settings]) -> dict[str, Any]:
    """Return a table of the file; raise SettingsError for a file that can't be read or a key that nobody knows."""
    whole = _read_file(Path(TOML_NAME))
    for known in _TABLES:
        table = whole.get(known.table, {}) if known.table else whole
        if not isinstance(table, dict):
            raise SettingsError(f"{TOML_NAME}: {known.table} is a table: write [{known.table}]")
        others = {it.table for it in _TABLES} if known.table is None else set()
        for name in table.keys() - known.model_fields.keys() - others:
            close = get_close_matches(name, known.model_fields)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{TOML_NAME}: unknown key {name!r}{hint}")
    table = whole.get(settings.table, {}) if settings.table else whole
    return {name: value for name, value in table.items() if name in settings.model_fields}


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise SettingsError(f"{path}: can't be read: {problem}") from None
