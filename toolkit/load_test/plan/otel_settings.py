"""Read the export settings of a load test from OpenTelemetry's own environment variables.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/. The exporter reads the
others itself, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from toolkit.api.errors import InputError

DEFAULT_SAMPLE_RATIO = 0.01  # the standard samples all, which is too much for a load test
DEFAULT_INTERVAL_S = 5.0  # the standard exports once a minute: a load test may last less
DEFAULT_CLOSE_S = 2.0  # the standard waits for half a minute at the end
_SAMPLERS = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
_PARENT = "parentbased_"  # no call of a load test has a parent, so these decide as the others do
_PROTOCOL = "http/protobuf"
_MAX_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class OtelSettings:
    """The export settings of a load test.

    Attributes:
        sample_ratio: the share of the calls that are traced, 0 to 1.
        has_metrics: whether metrics are exported.
        interval_s: the time between two exports of the metrics.
        close_s: the time for the last exports, when the calls have ended.
    """

    sample_ratio: float = DEFAULT_SAMPLE_RATIO
    has_metrics: bool = True
    interval_s: float = DEFAULT_INTERVAL_S
    close_s: float = DEFAULT_CLOSE_S

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> OtelSettings:
        """Read the settings; raise InputError, which names the variable, if one can't be used.

        >>> OtelSettings.of({"OTEL_TRACES_SAMPLER_ARG": "0.1"}).sample_ratio
        0.1
        """
        for name in ("", "_TRACES", "_METRICS"):
            variable = f"OTEL_EXPORTER_OTLP{name}_PROTOCOL"
            if (protocol := environment.get(variable) or _PROTOCOL) != _PROTOCOL:
                raise InputError(f"invalid {variable} {protocol!r}: expected {_PROTOCOL}")
        is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        traces, metrics = (_is_exported(environment, name) and not is_off for name in ("TRACES", "METRICS"))
        ratio = _read_ratio(environment)
        interval_s = _read_s(environment, "OTEL_METRIC_EXPORT_INTERVAL", DEFAULT_INTERVAL_S)
        close_s = _read_s(environment, "OTEL_BSP_EXPORT_TIMEOUT", DEFAULT_CLOSE_S)
        return cls(ratio if traces else 0.0, metrics, interval_s, close_s)


def check_installed() -> None:
    """Raise InputError unless the extra that exports is installed."""
    try:
        is_installed = find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        is_installed = False
    if not is_installed:
        raise InputError("--otel needs the extra otel: pip install 'sms-code-toolkit[otel]'")


def _is_exported(environment: Mapping[str, str], name: str) -> bool:
    variable = f"OTEL_{name}_EXPORTER"
    exporter = environment.get(variable) or "otlp"
    if exporter not in ("otlp", "none"):
        raise InputError(f"invalid {variable} {exporter!r}: expected otlp or none")
    return exporter == "otlp"


def _read_ratio(environment: Mapping[str, str]) -> float:
    sampler = environment.get("OTEL_TRACES_SAMPLER") or "traceidratio"
    name = sampler.removeprefix(_PARENT)
    if name not in _SAMPLERS:
        raise InputError(
            f"invalid OTEL_TRACES_SAMPLER {sampler!r}: expected one of {', '.join(_SAMPLERS)}, e.g. traceidratio"
        )
    if (fixed := _SAMPLERS[name]) is not None:
        return fixed
    variable = "OTEL_TRACES_SAMPLER_ARG"
    ratio = _read_number(environment, variable, DEFAULT_SAMPLE_RATIO)
    if not 0 <= ratio <= 1:
        raise InputError(f"invalid {variable} {environment[variable]!r}: expected a ratio from 0 to 1, e.g. 0.1")
    return ratio


def _read_s(environment: Mapping[str, str], variable: str, default_s: float) -> float:
    milliseconds = _read_number(environment, variable, default_s * 1000)
    if not 1 <= milliseconds <= _MAX_MS:  # also not a number
        raise InputError(f"invalid {variable} {environment[variable]!r}: expected milliseconds, e.g. 5000")
    return milliseconds / 1000


def _read_number(environment: Mapping[str, str], variable: str, default: float) -> float:
    try:
        return float(environment.get(variable) or default)
    except ValueError:
        return -1.0  # which no variable may be
