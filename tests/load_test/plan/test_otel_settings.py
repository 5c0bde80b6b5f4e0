from __future__ import annotations

import sys

import pytest

from toolkit.api.errors import InputError
from toolkit.load_test.plan.options import LoadOptions
from toolkit.load_test.plan.otel_settings import OtelSettings, check_installed


@pytest.mark.parametrize(
    ("environment", "ratio"),
    [
        ({}, 0.01),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_TRACES_SAMPLER": "always_on"}, 0.0),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_SAMPLER": "always_on"}, 0.0),
    ],
)
def test_the_standard_variables_choose_the_share_of_traced_calls(environment: dict[str, str], ratio: float) -> None:
    assert OtelSettings.of(environment).sample_ratio == ratio


def test_the_standard_variables_choose_whether_and_how_often_metrics_are_exported() -> None:
    assert (OtelSettings.of({}).has_metrics, OtelSettings.of({}).interval_s) == (True, 5.0)
    assert not OtelSettings.of({"OTEL_METRICS_EXPORTER": "none"}).has_metrics
    assert OtelSettings.of({"OTEL_METRIC_EXPORT_INTERVAL": "250"}).interval_s == 0.25
    assert OtelSettings.of({"OTEL_BSP_EXPORT_TIMEOUT": "500"}).close_s == 0.5


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "10%"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5s"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "nan"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InputError, match=f"invalid {variable} {value!r}: expected "):
        OtelSettings.of({variable: value})


def test_without_the_extra_the_error_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(InputError, match=r"pip install 'sms-code-toolkit\[otel\]'"):
        check_installed()


def test_the_header_of_the_trace_cannot_be_given_too() -> None:
    with pytest.raises(InputError, match="--otel and --header traceparent exclude one another"):
        LoadOptions(users=1, otel=True, headers=("Traceparent: 00-1-1-01",))
