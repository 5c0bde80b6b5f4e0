"""Declare the options of a load test, once, for the command line, the environment, locust and the notebook form.

``LoadOptions`` is the model. Each field has an ``Option`` with its names in other places:

- `smscode load` takes ``Option.flag`` (``toolkit.cli.load`` builds its parameters from the model);
- the locust process takes ``Option.argument`` on its command line or ``Option.variable`` in its environment
  (``add_arguments``, ``from_parsed_options``), and locust's web page offers the options that have ``on_page``;
- the parent of a locust process sets the variables (``LoadOptions.environment``);
- the notebook form shows ``Option.label`` and ``Option.suggestion``;
- run.json records the options that have a flag, under the names of the fields (``LoadOptions.settings``).

To add an option, add a field here and read it where it has an effect.
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from toolkit import number_format
from toolkit.api.durations import EXAMPLES, parse_duration
from toolkit.api.errors import InputError
from toolkit.api.extra_headers import parse_header
from toolkit.api.rate_rules import DEFAULT_RULES, Rule
from toolkit.api.trace_context import TRACEPARENT
from toolkit.load_test.plan.expectations import MAX_SPEED, Expectations, ServiceClock, check_limit
from toolkit.load_test.plan.http_options import CALL_TIMEOUT_S, CONNECT_TIMEOUT_S, HttpOptions, tls_context
from toolkit.load_test.plan.otel_settings import OtelSettings, check_installed
from toolkit.load_test.plan.target_guard import cap_messages
from toolkit.masking import MASK
from toolkit.records.call_record import parse_expected
from toolkit.runs.thresholds import Threshold, add_default, parse_threshold
from toolkit.validation import name_input

if TYPE_CHECKING:
    from toolkit.load_test.plan.schedule import Schedule
    from toolkit.settings import Price

CAPACITY = "capacity"
"""The group of the options of a search for the capacity."""

_EXPECTED = Expectations()
_MAX_TIMEOUT_S = 600.0
_MAX_RATE_PER_S = 10_000_000
_MAX_LABEL = 80  # characters: a label is a cell of a table


class ArrivalProcess(StrEnum):
    """Spacing of the arrivals at a given rate: even, or a Poisson process."""

    CONSTANT = "constant"
    POISSON = "poisson"


@dataclass(frozen=True, slots=True)
class Option:
    """The names and descriptions of an option outside of the model. A name that is None is not offered there.

    Args:
        help: One sentence or two for a person, without the default.
        flag: Option of `smscode load`, e.g. ``--max-messages``. A tuple is given by repeating it.
        argument: Argument of the locust process.
        variable: Environment variable of the locust process.
        metavar: Kind of value that the help shows, e.g. DURATION.
        group: Heading of the option in `smscode load --help` and in `locust --help`.
        on_page: Whether locust's web page offers it. Permissions and paths are not offered there.
        expects: A form that works, for error messages.
        default: The default in words, if it is not the field's.
        label: Label of the field in the notebook form.
        suggestion: Text that the form's field starts with, and default of `smscode load`.
    """

    help: str
    flag: str | None = None
    argument: str | None = None
    variable: str | None = None
    metavar: str = ""
    group: str = "load"
    on_page: bool = True
    expects: str = "another value"
    default: str = ""
    label: str = ""
    suggestion: str = ""

    @property
    def destination(self) -> str:
        """The name of ``argument`` in locust's parsed options."""
        return (self.argument or "").lstrip("-").replace("-", "_")

    @property
    def name(self) -> str:
        """The name for error messages: the option of `smscode load`, if it has one."""
        return self.flag or self.argument or self.variable or ""


def _from_environment(variable: str, default: int) -> Any:
    return os.environ.get(variable) or default


def _read_duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


def _read_seconds(value: object) -> object:
    """Read a duration, which the environment of a locust process gives as a number of seconds."""
    return (
        parse_duration(value, allow_zero=True)
        if isinstance(value, str) and not value.replace(".", "").isdigit()
        else value
    )


def _check_percentage(text: str) -> str:
    try:
        return str(parse_threshold(f"failed < {text}")).removeprefix("failed < ")
    except InputError:
        raise ValueError("not a share in percent") from None


def _check_limit(text: str) -> str:
    limit = parse_threshold(text)
    if limit.window_s is not None:
        raise InputError("a limit is judged at each load as a whole: leave the window out")
    return str(limit)


def _check_width(text: str) -> str:
    if not float(_check_percentage(text).removesuffix("%")) > 0:
        raise ValueError("not above 0")
    return text


def _check_stages(text: str) -> str:
    from toolkit.load_test.plan.schedule import parse_stages  # imports numpy

    parse_stages(text)
    return text


def _strip(texts: Any) -> Any:
    """Drop the empty texts that locust's page gives for an empty field."""
    return [text.strip() for text in texts if text.strip()]


def _join_conditions(texts: Any) -> Any:
    """Strip conditions, and join the parts of those that locust has split at a comma within parentheses."""
    joined: list[str] = []
    for text in texts:
        if joined and joined[-1].count("(") > joined[-1].count(")"):
            joined[-1] += f",{text}"
        else:
            joined.append(text)
    return _strip(joined)


def _split_lines(texts: Any) -> Any:
    """Split texts at line ends: SMSCODE_HEADER gives all headers in one text, as a header may contain commas."""
    return _strip([line for text in texts for line in text.splitlines()])


def _split(texts: Any) -> Any:
    """Split texts at commas and blanks: SMSCODE_RULES gives all rules in one text."""
    return " ".join(texts).replace(",", " ").split()


def _check_expected(text: str) -> str:
    parse_expected([text])
    return text


def _check_label(text: str) -> str:
    if not text.strip() or len(text) > _MAX_LABEL or not text.isprintable():
        raise ValueError("invalid label")
    return text.strip()


_Limit = Annotated[str, AfterValidator(_check_limit)]
_Condition = Annotated[str, AfterValidator(lambda text: str(parse_threshold(text)))]
_Header = Annotated[str, AfterValidator(lambda text: ": ".join(parse_header(text)))]
_Rule = Annotated[str, AfterValidator(lambda text: str(Rule.parse(text)))]
_Outcome = Annotated[str, AfterValidator(_check_expected)]


class LoadOptions(BaseModel):
    """Options of one load test. The load is given by exactly one of ``users``, ``rate_per_s`` and ``stages``.

    Fields hold text in the grammar of the command line; the methods return it parsed.

    >>> options = LoadOptions(rate_per_s=50, duration_s=10, thresholds=("p99(send.caller_ms)<250",))
    >>> options.thresholds
    ('p99(send.caller_ms) < 250',)
    >>> options.environment()["SMSCODE_STAGES"]
    '10.000000s=50.000000'

    Raises:
        InputError: An option is invalid, or two exclude each other. The message names the option and a valid form.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Load.
    duration_s: Annotated[
        float | None,
        BeforeValidator(_read_duration),
        Field(gt=0, allow_inf_nan=False),
        Option(
            "Time during which new calls are started, e.g. 10s, 2m or 1h.",
            flag="--duration",
            metavar="DURATION",
            expects=f"a duration above 0, {EXAMPLES}",
            default="10s, or the length of the stages",
            label="Duration",
            suggestion="10s",
        ),
    ] = None
    users: Annotated[
        int | None,
        Field(ge=1, le=100_000),
        Option(
            "Concurrent users. Each has one connection and waits for every response.",
            flag="--users",
            metavar="NUMBER",
            expects="a whole number of users from 1 to 100,000",
            default="20, unless --rate or --stages is given",
            label="Users",
            suggestion="20",
        ),
    ] = None
    rate_per_s: Annotated[
        float | None,
        Field(gt=0, le=_MAX_RATE_PER_S),
        Option(
            "Journeys started per second, by all workers together, whether or not earlier ones have ended.",
            flag="--rate",
            metavar="RATE",
            argument="--rate",
            variable="SMSCODE_RATE",
            expects=f"a number of journeys per second above 0 and at most {_MAX_RATE_PER_S:,}, e.g. 50",
            default="none: the load is set by users",
            label="Rate",
            suggestion="50",
        ),
    ] = None
    stages: Annotated[
        str | None,
        AfterValidator(_check_stages),
        Option(
            'Arrival rate over time, separated by commas: "30s@500" ramps to 500/s, "2m=500" holds 500/s,'
            ' "10m~500+-300/2m" varies as a sine.',
            flag="--stages",
            metavar="STAGES",
            argument="--stages",
            variable="SMSCODE_STAGES",
            expects='stages, e.g. "30s@500,2m=500,30s@0"',
            default="the stages of the scenario, if it has any",
            label="Stages",
            suggestion="10s@100,20s=100,5s@0",
        ),
    ] = None
    arrivals: Annotated[
        ArrivalProcess,
        Option(
            "Spacing of arrivals with --rate or --stages: constant or poisson.",
            flag="--arrivals",
            metavar="constant|poisson",
            argument="--arrivals",
            variable="SMSCODE_ARRIVALS",
            expects="constant or poisson",
            label="Arrivals",
        ),
    ] = ArrivalProcess.CONSTANT
    max_connections: Annotated[
        int,
        Field(ge=1, le=100_000),
        Option(
            "Maximum connections of each worker with --rate or --stages.",
            flag="--max-connections",
            metavar="NUMBER",
            argument="--max-connections",
            variable="SMSCODE_MAX_CONNECTIONS",
            expects="a whole number of connections from 1 to 100,000",
            label="Max connections",
        ),
    ] = 500
    workers: Annotated[
        int,
        Field(ge=1, le=1_000),
        Option(
            "Worker processes that share the load.",
            flag="--workers",
            metavar="NUMBER",
            expects="a whole number of processes from 1 to 1,000",
            label="Workers",
        ),
    ] = 1

    # Data.
    seed: Annotated[
        int,
        Option(
            "Seed of the mobiles, the arrivals and the choices between journeys.",
            flag="--seed",
            metavar="NUMBER",
            argument="--sms-seed",
            variable="SMSCODE_SEED",
            group="data",
            expects="a whole number",
            default="random",
            label="Seed",
        ),
    ] = Field(default_factory=lambda: secrets.randbelow(1 << 32))
    mobiles: Annotated[
        str,
        Option(
            "Source of the mobiles: uniform, zipf:1.1, prefix:1380013, file:PATH or magic:CODE.",
            flag="--mobiles",
            metavar="SOURCE",
            argument="--sms-mobiles",
            variable="SMSCODE_MOBILES",
            group="data",
            label="Mobiles",
        ),
    ] = "uniform"
    recording: Annotated[
        Path | None,
        Option(
            "Folder of a recorded run, for the scenario replay.",
            flag="--recording",
            metavar="FOLDER",
            argument="--recording",
            variable="SMSCODE_RECORDING",
            group="data",
            default="none",
            label="Recording",
        ),
    ] = None

    # HTTP.
    timeout_s: Annotated[
        float,
        BeforeValidator(_read_seconds),
        Field(gt=0, le=_MAX_TIMEOUT_S, allow_inf_nan=False),
        Option(
            "Limit for a whole call, however slowly its response arrives.",
            flag="--timeout",
            metavar="DURATION",
            argument="--call-timeout",
            variable="SMSCODE_TIMEOUT",
            group="HTTP",
            expects="a duration above 0 and at most 10m, e.g. 2s",
            default=f"{CALL_TIMEOUT_S:g}s",
            label="Timeout",
        ),
    ] = CALL_TIMEOUT_S
    connect_timeout_s: Annotated[
        float,
        BeforeValidator(_read_seconds),
        Field(gt=0, le=_MAX_TIMEOUT_S, allow_inf_nan=False),
        Option(
            "Limit for opening a connection, TLS included.",
            flag="--connect-timeout",
            metavar="DURATION",
            argument="--connect-timeout",
            variable="SMSCODE_CONNECT_TIMEOUT",
            group="HTTP",
            expects="a duration above 0 and at most 10m, e.g. 500ms",
            default=f"{CONNECT_TIMEOUT_S:g}s",
            label="Connect timeout",
        ),
    ] = CONNECT_TIMEOUT_S
    headers: Annotated[
        tuple[_Header, ...],
        BeforeValidator(_split_lines),
        Option(
            "Additional header of each call, 'NAME: VALUE'. Its value is never shown.",
            flag="--header",
            metavar="HEADER",
            argument="--header",
            variable="SMSCODE_HEADER",
            group="HTTP",
            on_page=False,
            expects="NAME: VALUE, e.g. 'X-Environment: staging'",
            default="none",
        ),
    ] = ()
    ca_bundle: Annotated[
        Path | None,
        Option(
            "File with the CA certificates that are trusted, in place of the system's.",
            flag="--ca-bundle",
            metavar="FILE",
            argument="--ca-bundle",
            variable="SMSCODE_CA_BUNDLE",
            group="HTTP",
            on_page=False,
            default="the system's",
        ),
    ] = None
    client_cert: Annotated[
        Path | None,
        Option(
            "PEM file with the client's certificate, for a target that asks for one.",
            flag="--client-cert",
            metavar="FILE",
            argument="--client-cert",
            variable="SMSCODE_CLIENT_CERT",
            group="HTTP",
            on_page=False,
            default="none",
        ),
    ] = None
    client_key: Annotated[
        Path | None,
        Option(
            "PEM file with the key of the client's certificate.",
            flag="--client-key",
            metavar="FILE",
            argument="--client-key",
            variable="SMSCODE_CLIENT_KEY",
            group="HTTP",
            on_page=False,
            default="in the file of --client-cert",
        ),
    ] = None

    label: Annotated[
        str | None,
        AfterValidator(_check_label),
        Option(
            "Name of what is loaded, e.g. a version, for run.json and smscode trend.",
            flag="--label",
            metavar="TEXT",
            group="data",
            expects=f"a text of 1 to {_MAX_LABEL} characters in one line",
            default="the git commit of the working directory, if there is one",
            label="Label",
        ),
    ] = None

    # Permission and budget.
    allow_target: Annotated[
        tuple[str, ...],
        BeforeValidator(_strip),
        Option(
            "Host that may be loaded although it is not a sandbox on this machine; its messages may cost money.",
            flag="--allow-target",
            metavar="HOST",
            argument="--allow-target",
            variable="SMSCODE_ALLOW_TARGET",
            group="target",
            on_page=False,
            default="sandboxes on this machine only",
        ),
    ] = ()
    i_pay_for_this: Annotated[
        bool,
        Option(
            "Allow the vendor's own host too, which bills each message.",
            flag="--i-pay-for-this",
            argument="--i-pay-for-this",
            variable="SMSCODE_I_PAY_FOR_THIS",
            group="target",
            on_page=False,
        ),
    ] = False
    max_messages: Annotated[
        int | None,
        Option(
            "Maximum messages that all workers together may send.",
            flag="--max-messages",
            metavar="NUMBER",
            argument="--max-messages",
            variable="SMSCODE_MAX_MESSAGES",
            group="budget",
            expects="a whole number of messages, at least 1",
            default="unlimited",
            label="Max messages",
        ),
    ] = None
    max_cost: Annotated[
        str | None,
        Option(
            "Maximum cost of the messages, at SMSCODE_PRICE_PER_SEND each.",
            flag="--max-cost",
            metavar="AMOUNT",
            argument="--max-cost",
            variable="SMSCODE_MAX_COST",
            group="budget",
            default="unlimited",
            label="Max cost",
        ),
    ] = None

    # Verdict.
    thresholds: Annotated[
        tuple[_Condition, ...],
        BeforeValidator(_join_conditions),
        Option(
            'Condition that the run must meet, e.g. "p99(send.caller_ms) < 250".',
            flag="--threshold",
            metavar="CONDITION",
            argument="--threshold",
            variable="SMSCODE_THRESHOLD",
            group="verdict",
            default="none",
            label="Thresholds",
            suggestion="p99(send.caller_ms) < 250\nok_ratio(send) >= 95%",
        ),
    ] = ()
    warm_up_s: Annotated[
        float,
        BeforeValidator(_read_seconds),
        Field(ge=0, allow_inf_nan=False),
        Option(
            "Time at the start of the run, or of each trial of --find-capacity, whose calls no threshold counts.",
            flag="--warm-up",
            metavar="DURATION",
            argument="--warm-up",
            variable="SMSCODE_WARM_UP",
            group="verdict",
            expects="a duration, e.g. 10s",
            default="none; with --find-capacity a tenth of --duration, at most 5s",
            label="Warm-up",
        ),
    ] = 0.0
    max_failed: Annotated[
        str,
        AfterValidator(_check_percentage),
        Option(
            "Share of calls that failed calls must stay below, unless a threshold on failed calls is given.",
            flag="--max-failed",
            metavar="SHARE",
            argument="--max-failed",
            variable="SMSCODE_MAX_FAILED",
            group="verdict",
            expects="a share of 0 to 100 %, e.g. 1%",
            label="Max failed calls",
        ),
    ] = "1%"
    max_dropped: Annotated[
        str,
        AfterValidator(_check_percentage),
        Option(
            "Share of arrivals that dropped ones must stay below with --rate or --stages, unless a threshold on dropped"
            " arrivals is given.",
            flag="--max-dropped",
            metavar="SHARE",
            argument="--max-dropped",
            variable="SMSCODE_MAX_DROPPED",
            group="verdict",
            expects="a share of 0 to 100 %, e.g. 1%",
            label="Max dropped arrivals",
        ),
    ] = "1%"
    max_bottleneck: Annotated[
        str,
        AfterValidator(_check_percentage),
        Option(
            "Share of the time, or of the arrivals, that the load generator may delay. Beyond it, no verdict passes.",
            flag="--max-bottleneck",
            metavar="SHARE",
            argument="--max-bottleneck",
            variable="SMSCODE_MAX_BOTTLENECK",
            group="verdict",
            expects="a share of 0 to 100 %, e.g. 1%",
            default="SMSCODE_MAX_BOTTLENECK, else 1%",
            label="Max bottleneck",
        ),
    ] = Field(default_factory=lambda: os.environ.get("SMSCODE_MAX_BOTTLENECK", "1%"))
    expected: Annotated[
        tuple[_Outcome, ...],
        BeforeValidator(_split),
        AfterValidator(lambda texts: tuple(map(str, sorted(parse_expected(texts), key=str)))),
        Option(
            "Kind (REQUEST, ACCOUNT, RATE) or return code that does not count as a failure, in addition to the"
            " scenario's.",
            flag="--expect",
            metavar="OUTCOME",
            argument="--expect",
            variable="SMSCODE_EXPECT",
            group="verdict",
            default="those of the scenario",
            label="Expected outcomes",
        ),
    ] = ()
    cut_off_timeout_s: Annotated[
        float,
        BeforeValidator(_read_seconds),
        Field(ge=0, allow_inf_nan=False),
        Option(
            "Wait after which a call in flight at the end of the run counts as a timeout. Before, it is not a failure.",
            flag="--cut-off-timeout",
            metavar="DURATION",
            argument="--cut-off-timeout",
            variable="SMSCODE_CUT_OFF_TIMEOUT",
            group="verdict",
            expects="a duration, e.g. 5s",
            default="5s",
            label="Timeout at the end",
        ),
    ] = 5.0
    limits: Annotated[
        tuple[_Limit, ...],
        BeforeValidator(_join_conditions),
        Option(
            "Threshold that defines a sustainable load: --find-capacity searches for the highest one, and the scenario"
            " throughput reports that of a rising rate.",
            flag="--limit",
            metavar="CONDITION",
            argument="--limit",
            variable="SMSCODE_LIMIT",
            group="verdict",
            default="none",
            label="Limits",
        ),
    ] = ()

    # Search for the capacity.
    find_capacity: Annotated[
        bool,
        Option(
            "Search for the highest load that meets every --limit, in trials of a constant load. --rate or --users"
            " gives the first one, --duration the length of a long one.",
            flag="--find-capacity",
            group=CAPACITY,
            on_page=False,
        ),
    ] = False
    width: Annotated[
        str,
        AfterValidator(_check_width),
        Option(
            "Wanted distance between the load that holds and the load that misses, as a share of the first.",
            flag="--width",
            metavar="SHARE",
            group=CAPACITY,
            on_page=False,
            expects="a share above 0 and at most 100 %, e.g. 5%",
            label="Width",
            suggestion="5%",
        ),
    ] = "5%"
    max_duration_s: Annotated[
        float | None,
        BeforeValidator(_read_duration),
        Field(gt=0, allow_inf_nan=False),
        Option(
            "Maximum duration of the whole search.",
            flag="--max-duration",
            metavar="DURATION",
            group=CAPACITY,
            on_page=False,
            expects=f"a duration above 0, {EXAMPLES}",
            default="unlimited",
            label="Max duration",
            suggestion="30m",
        ),
    ] = None

    # Expected behaviour of the service.
    rules: Annotated[
        tuple[_Rule, ...],
        BeforeValidator(_split),
        Option(
            "Rate limit of sends to one mobile that the service is expected to enforce, e.g. 1/60s.",
            flag="--rule",
            metavar="COUNT/DURATION",
            argument="--rule",
            variable="SMSCODE_RULES",
            group="expected service",
            default="the rules of the API",
            label="Rules",
        ),
    ] = ()
    speed: Annotated[
        float,
        Field(gt=0, le=MAX_SPEED),
        Option(
            "Speed of the service's clock relative to real time: the --speed of a sandbox.",
            flag="--speed",
            metavar="FACTOR",
            argument="--speed",
            variable="SMSCODE_SPEED",
            group="expected service",
            expects=f"a number above 0 and at most {MAX_SPEED}",
            label="Speed",
        ),
    ] = _EXPECTED.clock.speed
    tries: Annotated[
        int,
        Field(ge=1, le=255),
        Option(
            "Wrong codes after which a message accepts no further code.",
            flag="--tries",
            metavar="NUMBER",
            argument="--tries",
            variable="SMSCODE_TRIES",
            group="expected service",
            expects="a whole number from 1 to 255",
            default=f"SMSCODE_TRIES, else {_EXPECTED.tries}",
            label="Tries",
        ),
    ] = Field(default_factory=lambda: _from_environment("SMSCODE_TRIES", _EXPECTED.tries), validate_default=True)
    failures_per_hour: Annotated[
        int,
        Option(
            "Wrong codes per hour after which a mobile is blocked.",
            argument="--failures-per-hour",
            variable="SMSCODE_FAILURES_PER_HOUR",
            group="expected service",
            expects="a whole number, at least 1",
        ),
    ] = _EXPECTED.failures_per_hour
    ttl_s: Annotated[
        int,
        BeforeValidator(_read_seconds),
        Field(ge=1, le=86_400),
        Option(
            "Lifetime of a code in seconds of the service. A sandbox that the load test starts keeps it.",
            flag="--ttl",
            metavar="SECONDS",
            argument="--ttl",
            variable="SMSCODE_TTL_S",
            group="expected service",
            expects="whole seconds from 1 to 86400",
            default=f"SMSCODE_TTL_S, else {_EXPECTED.ttl_s}",
            label="TTL",
        ),
    ] = Field(default_factory=lambda: _from_environment("SMSCODE_TTL_S", _EXPECTED.ttl_s), validate_default=True)

    # Monitoring.
    metrics_port: Annotated[
        int | None,
        Field(ge=1, le=65_535),
        Option(
            "Serve Prometheus metrics of the whole load test at /metrics on this port while it runs.",
            flag="--metrics-port",
            metavar="PORT",
            argument="--metrics-port",
            variable="SMSCODE_METRICS_PORT",
            group="monitoring",
            on_page=False,
            expects="a port from 1 to 65535, e.g. 9200",
            default="no port",
        ),
    ] = None
    metrics_host: Annotated[
        str,
        Option(
            "Address that the metrics are served on. Beyond loopback, everyone who reaches it can read them.",
            flag="--metrics-host",
            metavar="ADDRESS",
            argument="--metrics-host",
            variable="SMSCODE_METRICS_HOST",
            group="monitoring",
            on_page=False,
        ),
    ] = "127.0.0.1"
    otel: Annotated[
        bool,
        Option(
            "Export metrics, and traces of a share of the calls, over OTLP. OpenTelemetry's own variables such as"
            " OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_TRACES_SAMPLER_ARG set where and how many.",
            flag="--otel",
            argument="--sms-otel",
            variable="SMSCODE_OTEL",
            group="monitoring",
            on_page=False,
        ),
    ] = False

    # Set by the parent of the locust process.
    run_dir: Annotated[
        str | None,
        Option(
            "Folder or URL that the calls are recorded in. Without it nothing is recorded.",
            argument="--sms-run-dir",
            variable="SMSCODE_RUN_DIR",
            group="process",
            on_page=False,
        ),
    ] = None
    lifeline_fd: Annotated[
        int | None,
        Option(
            "Pipe that the parent process keeps open. The run ends when it closes.",
            argument="--sms-lifeline-fd",
            variable="SMSCODE_LIFELINE_FD",
            group="process",
            on_page=False,
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_none(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Drop options that are None if that is their default: the constraints of the fields would refuse it."""
        return {
            name: value
            for name, value in options.items()
            if value is not None or name not in cls.model_fields or cls.model_fields[name].default is not None
        }

    if not TYPE_CHECKING:  # type checkers take the parameters from the fields

        def __init__(self, **options: object) -> None:
            try:
                super().__init__(**options)
            except ValidationError as problems:
                problem = problems.errors(include_url=False)[0]
            else:
                return
            reason, known = problem.get("ctx", {}).get("error"), declared()
            if not problem["loc"]:
                raise reason
            name = str(problem["loc"][0])
            if name not in known:
                raise InputError(f"unknown option {name!r} (choose from {', '.join(known)})")
            value = str(problem["input"])
            form = str(reason) if isinstance(reason, InputError) else f"expected {known[name].expects}"
            raise InputError(name_input(form, known[name].name, value))

    @model_validator(mode="after")
    def _check(self) -> LoadOptions:
        if self.rate_per_s is not None and self.stages is not None:
            raise InputError("--rate and --stages exclude one another: the stages contain the rate")
        if [self.users, self.rate_per_s, self.stages].count(None) != 2:
            raise InputError("expected exactly one of --users, --rate and --stages, e.g. --rate 50")
        if self.stages is not None and self.duration_s is not None:
            raise InputError("--stages and --duration exclude one another: the stages contain their durations")
        if self.users is not None and "dropped" in (str(parse_threshold(it).metric) for it in self.thresholds):
            raise InputError("a threshold on dropped arrivals needs --rate or --stages: users have no arrivals")
        if self.warm_up_s and self.warm_up_s >= self.run_time_s:
            raise InputError(f"--warm-up {self.warm_up_s:g}s leaves nothing to judge: give a longer --duration")
        if self.client_key and not self.client_cert:
            raise InputError("--client-key needs the certificate that it belongs to: give --client-cert")
        if self.otel and TRACEPARENT in (parse_header(it)[0].lower() for it in self.headers):
            raise InputError(f"--otel and --header {TRACEPARENT} exclude one another: each sets the header")
        self._check_search()
        self.expectations()
        return self

    def _check_search(self) -> None:
        if not self.find_capacity:
            for name in ("width", "max_duration_s"):
                if name in self.model_fields_set:
                    raise InputError(f"{declared()[name].flag} has no effect without --find-capacity")
            return
        if not self.limits:
            raise InputError("--find-capacity needs a --limit, e.g. --limit 'p99(send.caller_ms) < 250'")
        if self.stages is not None:
            raise InputError("--find-capacity and --stages exclude one another: each trial has a constant load")
        if self.thresholds:
            raise InputError("--find-capacity takes no --threshold: give the condition as --limit")
        for limit in self.limits:
            check_limit(parse_threshold(limit))

    @property
    def run_time_s(self) -> float:
        """The time during which journeys are started, in seconds; infinite if it is not limited."""
        schedule = self.schedule() if self.stages else None
        return schedule.duration_s if schedule else self.duration_s or math.inf

    def schedule(self) -> Schedule | None:
        """Return the schedule of arrivals, None if the load is given by users."""
        from toolkit.load_test.plan.schedule import Schedule, parse_stages, steady

        is_poisson = self.arrivals is ArrivalProcess.POISSON
        if self.stages is not None:
            return Schedule(parse_stages(self.stages), is_poisson)
        if self.rate_per_s is not None:
            return Schedule(steady(self.rate_per_s, self.duration_s or math.inf), is_poisson)
        return None

    def http(self) -> HttpOptions:
        """Return the timeouts, further headers and certificates of the calls."""
        headers = tuple(parse_header(it) for it in self.headers)
        files = self.ca_bundle, self.client_cert, self.client_key
        return HttpOptions(self.timeout_s, self.connect_timeout_s, headers, *files)

    def expectations(self, drift_ratio: float = 0.0) -> Expectations:
        """Return the expected behaviour of the service, whose clock may drift by ``drift_ratio``."""
        return Expectations(
            rules=tuple(map(Rule.parse, self.rules)) or DEFAULT_RULES,
            tries=self.tries,
            failures_per_hour=self.failures_per_hour,
            ttl_s=self.ttl_s,
            limits=tuple(map(parse_threshold, self.limits)),
            clock=ServiceClock(self.speed, drift_ratio),
        )

    def parsed_thresholds(self) -> tuple[Threshold, ...]:
        """Return the thresholds, with the default ones; see ``thresholds.add_default``."""
        max_dropped = self.max_dropped if self.users is None else None
        return add_default(map(parse_threshold, self.thresholds), self.max_failed, max_dropped)

    @property
    def max_bottleneck_ratio(self) -> float:
        """The share that the load generator may hold up, 0 to 1."""
        return float(self.max_bottleneck.strip().removesuffix("%")) / 100

    def message_cap(self, price: Price | None) -> int | None:
        """Return the maximum number of messages, None without a limit; see ``target_guard.cap_messages``."""
        return cap_messages(self.max_messages, self.max_cost, price)

    def check_data(self) -> None:
        """Raise InputError if the mobiles, the recording, the limits, a certificate or OpenTelemetry can't be used."""
        if self.ca_bundle or self.client_cert:
            tls_context(self.http())
        if self.otel:
            check_installed()
            OtelSettings.of(os.environ)
        schedule = self.schedule() if self.limits else None
        if self.limits and not self.find_capacity and not (schedule and schedule.is_rising):
            raise InputError("--limit needs --find-capacity, or a rate that rises, e.g. --stages 2m@5000")
        if self.mobiles != LoadOptions.model_fields["mobiles"].default:
            from toolkit.load_test.plan.mobile_pools import parse_pool  # imports numpy

            parse_pool(self.mobiles)
        if self.recording:
            from toolkit.load_test.plan.recording import check_recording  # imports pyarrow

            check_recording(self.recording)

    def sandbox_arguments(self) -> list[str]:
        """Return the arguments of `smscode serve` that make a sandbox behave as expected."""
        rules = [word for rule in self.rules for word in ("--rule", rule)]
        return ["--speed", str(self.speed), "--tries", str(self.tries), "--ttl", str(self.ttl_s), *rules]

    def environment(self) -> dict[str, str]:
        """Return the environment variables that give these options to a locust process.

        A variable that is absent here is inherited from this process's environment: an unset option, and an option
        that `smscode load` does not take.
        """
        values = self.model_dump(mode="json")
        if self.rate_per_s is not None:
            # A rate that ends is a stage: locust's own time limit counts whole seconds from before the first arrival.
            values |= {"rate_per_s": None, "stages": f"{self.duration_s:f}s={self.rate_per_s:f}"}
        is_set = {name: value is not False and value not in (None, "", []) for name, value in values.items()}
        return {
            option.variable: _write_variable(name, values[name])
            for name, option in declared().items()
            if option.variable and is_set[name] and (option.flag or name in self.model_fields_set)
        }

    def load_text(self) -> str:
        """Return the load in words.

        >>> LoadOptions(rate_per_s=50, duration_s=10).load_text()
        '50 journeys/s'
        """
        users = number_format.plural(self.users, "user") if self.users else None
        return users or self.stages or f"{self.rate_per_s:g} journeys/s"

    def settings(self) -> dict[str, object]:
        """Return the options that run.json records, by field name, as JSON values."""
        values = self.model_dump(mode="json") | {
            "duration_s": self.run_time_s if self.run_time_s < math.inf else None,
            "thresholds": [str(it) for it in self.parsed_thresholds()],
            "headers": [f"{name}: {MASK}" for name, _ in map(parse_header, self.headers)],
        }
        return {name: values[name] for name, option in declared().items() if option.flag and option.group != CAPACITY}


@cache
def declared() -> Mapping[str, Option]:
    """Return the declaration of every option by field name, in the order of the model."""
    return {
        name: next(it for it in field.metadata if isinstance(it, Option))
        for name, field in LoadOptions.model_fields.items()
    }


def unused_option(name: str, scenario: str = "") -> str:
    """Return the error text for an option that no check and no journey of a scenario reads.

    >>> unused_option("limits", "soak")
    '--limit has no effect on the scenario soak: leave it out, or load with the scenario throughput'
    """
    where = f"the scenario {scenario}" if scenario else "this locustfile"
    return f"{declared()[name].flag} has no effect on {where}: leave it out, or load with the scenario {_READERS[name]}"


def value_type(name: str) -> type:
    """Return the type of an option's value, or of one of its values if it may be repeated.

    >>> value_type("max_messages"), value_type("rules")
    (<class 'int'>, <class 'str'>)
    """
    annotation = LoadOptions.model_fields[name].annotation
    types = [it for it in get_args(annotation) if it not in (type(None), ...)]
    kind: Any = types[0] if types else annotation
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind  # type: ignore[no-any-return]


def is_repeatable(name: str) -> bool:
    """Return whether an option takes several values."""
    return get_origin(LoadOptions.model_fields[name].annotation) is tuple


def parse_option(name: str, text: str) -> Any:
    """Parse the text of one option, which for a repeatable one has a value on each line.

    >>> parse_option("duration_s", "2m")
    120.0

    Raises:
        InputError: The text is invalid. The message does not name the option: a form shows it next to the field.
    """
    value = [line for line in text.splitlines() if line.strip()] if is_repeatable(name) else text.strip()
    try:
        return _validator(name).validate_python(value)
    except ValidationError as problems:
        reason = problems.errors(include_url=False)[0].get("ctx", {}).get("error")
    raise reason if isinstance(reason, InputError) else InputError(f"expected {declared()[name].expects}")


@cache
def _validator(name: str) -> TypeAdapter[Any]:
    field = LoadOptions.model_fields[name]
    return TypeAdapter(Annotated[(field.annotation, *field.metadata)])  # type: ignore[arg-type]


def add_arguments(parser: argparse.ArgumentParser, **_: object) -> None:
    """Add the options to a locust argument parser, with environment variables; a listener of locust's event."""
    groups = {option.group: None for option in declared().values() if option.argument}
    by_title = {group: parser.add_argument_group(f"SMS code {group}") for group in groups}
    for name, option in declared().items():
        if option.argument is None:
            continue
        kind, default = value_type(name), LoadOptions.model_fields[name].get_default(call_default_factory=True)
        how: dict[str, Any] = {"env_var": option.variable, "help": option.help, "default": default}
        if is_repeatable(name):
            how |= {"action": "append", "default": list(default), "help": f"{option.help} Repeatable."}
        elif kind is bool:
            how["action"] = "store_true"
        elif issubclass(kind, StrEnum):
            how |= {"choices": [str(it) for it in kind], "default": str(default)}
        elif kind is not Path and not _is_duration(name):
            how["type"] = kind
        action: Any = by_title[option.group].add_argument(option.argument, **how)
        # A group's add_argument is not locust's, which takes these as arguments.
        action.include_in_web_ui = option.on_page
        action.is_secret = action.is_required = action.is_multiple = False


def from_parsed_options(options: argparse.Namespace) -> LoadOptions:
    """Read the options from locust's parsed options, which hold texts if they come from the web page.

    Users are locust's own option: without a rate and stages the load is given by ``options.num_users``, or one user
    where the page has not set them yet.

    Raises:
        InputError: As ``LoadOptions`` does.
    """
    given: dict[str, Any] = {
        name: getattr(options, option.destination, None) for name, option in declared().items() if option.argument
    }
    given = {name: value for name, value in given.items() if value not in (None, "")}
    if not given.keys() & {"rate_per_s", "stages"}:
        given["users"] = getattr(options, "num_users", None) or 1
    return LoadOptions(**given)


def _is_duration(name: str) -> bool:
    """Return whether an option is a duration, which a person gives as text, e.g. 10s."""
    return name.endswith("_s") and not name.endswith("_per_s")


_READERS = {"limits": "throughput", "recording": "replay"}  # the scenarios that read these options


def _write_variable(name: str, value: Any) -> str:
    if name in ("rules", "expected"):
        return " ".join(value)
    if name == "headers":
        return "\n".join(value)
    if is_repeatable(name):
        return f"[{','.join(value)}]"
    return "true" if value is True else str(value)
