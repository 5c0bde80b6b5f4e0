"""Every function of the analysis says the same of the same calls, whatever engine holds them."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache

import narwhals as nw
import pandas as pd
import pytest
from support.engines import ENGINES, OPEN
from support.random_calls import write_random_calls

from toolkit import analysis
from toolkit.analysis.calls_table import lazy
from toolkit.analysis.histogram_quantiles import ERROR_RATIO
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.price_list import PricedTemplate, PriceList, PriceRow

CALLS = 20_000  # enough for a row in each result but that of clock_offsets
PRICES = PriceList(
    (
        PriceRow(date(2026, 11, 6), Decimal("0.045"), "CNY", "code", "China Mobile"),
        PriceRow(date(2026, 11, 7), Decimal("0.0475"), "CNY", "code", "China Mobile"),
        PriceRow(date(2026, 11, 7), Decimal("0.05"), "CNY", "notice"),
    ),
    (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)),
)
STATEMENT = pd.DataFrame(
    [
        (
            f"m{it:09}",
            "2026-11-06T12:30Z",
            str(1 + it % 3 % 2),
            "0.0450",
            str(Decimal("0.045") * (1 + it % 3 % 2)),
            "CNY",
        )
        for it in range(0, CALLS // 2, 10)
    ],
    columns=["msg_id", "sent_at", "segments", "price", "amount", "currency"],
)


def _reconcile(calls):
    return analysis.reconcile(calls, STATEMENT, PRICES, since="2026-11-06T12:00", until="2026-11-06T13:00")


RULE_SETS = [analysis.RuleSet.parse("1/60s 5/1h"), analysis.RuleSet(blocked=("138",))]
FUNCTIONS: dict[str, Callable[..., pd.DataFrame]] = {
    "return_codes": analysis.return_codes,
    "over_time": lambda calls: analysis.over_time(calls, "1h"),
    "latency": lambda calls: analysis.latency(calls, by=("endpoint", "return_code")),
    "latency over time": lambda calls: analysis.latency(calls, every="6h"),
    "latency from histograms": lambda calls: analysis.latency(
        calls, by=("endpoint", "return_code"), every="6h", method="histogram"
    ),
    "compare": lambda calls: analysis.compare(calls, _changed(calls), every="2h", permutations=199),
    "changes": lambda calls: analysis.changes(_changed(calls), every="10min"),
    "explain": lambda calls: analysis.explain(_changed(calls), 50009, since="2026-11-07T12:00"),
    "explain against others": lambda calls: analysis.explain(_changed(calls), 50009, "2026-11-07", against=calls),
    "errors": analysis.errors,
    "error_budget": lambda calls: analysis.error_budget(calls, within_ms=20),
    "burn_rates": analysis.burn_rates,
    "suspects": lambda calls: analysis.suspects(calls, all_prefixes=True),
    "guessers": lambda calls: analysis.guessers(calls, min_failed=3),
    "clock_offsets": analysis.clock_offsets,
    "limits": analysis.limits,
    "most_accepted": analysis.most_accepted,
    "limits of a sample": lambda calls: analysis.limits(calls, most=3_000),
    "cost": lambda calls: analysis.cost(calls, PRICES),
    "cost in all": lambda calls: analysis.cost(calls, PRICES, by=()),
    "forecast": lambda calls: analysis.forecast(calls, PRICES, Decimal(100)),
    "forecast_by_day": lambda calls: analysis.forecast_by_day(calls, PRICES),
    "what_if": lambda calls: analysis.what_if(calls, RULE_SETS, PRICES, by="temp_id"),
    "what_if_sweep": lambda calls: analysis.what_if_sweep(
        analysis.recorded_sends(calls, find_abuse=False), [1], [60, 3600], PRICES
    ),
    "reconcile": lambda calls: _reconcile(calls).discrepancies,
    "reconcile in all": lambda calls: _reconcile(calls).summary,
}


def _changed(calls):
    """Return the calls with a slow and refusing stretch of an hour for a template."""
    time = nw.col("started_ns") - parse_time_ns("2026-11-07T14:00")
    is_changed = (time >= 0) & (time < 3_600_000_000_000) & (nw.col("source") == "b")
    return lazy(calls).with_columns(
        return_code=nw.when(is_changed).then(nw.lit(50009)).otherwise(nw.col("return_code")),
        latency_ns=nw.when(is_changed).then(10 * nw.col("latency_ns")).otherwise(nw.col("latency_ns")),
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("engines") / "calls.parquet"
    write_random_calls(path, CALLS)
    return str(path)


@cache
def _expected(name, path):
    """Return a function's result for the calls as the toolkit itself reads them."""
    return FUNCTIONS[name](analysis.read(path))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_engines_give_equal_results(name, engine, path):
    pd.testing.assert_frame_equal(FUNCTIONS[name](OPEN[engine](path)), _expected(name, path))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_result_has_an_object_column(name, path):
    assert "object" not in _expected(name, path).dtypes.astype(str).tolist()


def test_every_public_function_of_calls_is_tested_with_all_engines():
    functions = {name for name in analysis.__all__ if name.islower()} - {
        "read",
        "from_records",
        "from_frame",
        "readable",
        "mobile_key",
        "recorded_sends",
        "side_by_side",
    }
    covered = {name.split()[0] for name in FUNCTIONS} | {"span", "duration_s", "wilson"}
    assert functions == covered


def test_histograms_are_within_their_stated_error_of_the_exact_percentiles(path):
    calls = analysis.read(path)
    exact, binned = (analysis.latency(calls, method=method) for method in ("exact", "histogram"))
    assert binned["error_ratio"].tolist() == [ERROR_RATIO] * len(binned)
    for name in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms"):
        assert binned[name].tolist() == pytest.approx(exact[name].tolist(), rel=ERROR_RATIO * 1.2)
    for name in ("calls", "max_ms"):
        assert binned[name].tolist() == exact[name].tolist()
    assert binned["mean_ms"].tolist() == pytest.approx(exact["mean_ms"].tolist())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_span_of_the_calls_is_the_same(engine, path):
    calls = OPEN[engine](path)
    assert analysis.span(calls) == analysis.span(analysis.read(path))
    assert analysis.duration_s(calls) == pytest.approx(172_800, rel=1e-3)
