"""Every frame that the analysis returns can be used on with pandas: thirty usual operations, and a workbook."""

from __future__ import annotations

import io
import keyword
from collections.abc import Callable
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from support.random_calls import write_random_calls

from toolkit import analysis
from toolkit.price_list import PricedTemplate, PriceList, PriceRow

PRICES = PriceList(
    (PriceRow(date(2026, 11, 6), Decimal("0.045"), "CNY", "code"),),
    (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)),
)
BILL = pd.DataFrame(
    [(f"m{it:09}", "2026-11-06T12:30Z", "1", "0.05", "0.05", "CNY") for it in range(0, 900, 20)],
    columns=["msg_id", "sent_at", "segments", "price", "amount", "currency"],
)
RULE_SETS = [analysis.RuleSet.parse("1/60s 5/1h"), analysis.RuleSet(blocked=("138",))]
FRAMES: dict[str, Callable[..., pd.DataFrame]] = {
    "return_codes": analysis.return_codes,
    "over_time": lambda calls: analysis.over_time(calls, "6h"),
    "latency": analysis.latency,
    "latency over time": lambda calls: analysis.latency(calls, every="6h", at=(50, 99.9)),
    "compare": lambda calls: analysis.compare(calls, calls, every="2h", permutations=99),
    "changes": lambda calls: analysis.changes(calls, every="1h"),
    "explain": lambda calls: analysis.explain(calls, 50009, since="2026-11-07T12:00"),
    "errors": analysis.errors,
    "error_budget": analysis.error_budget,
    "burn_rates": analysis.burn_rates,
    "suspects": lambda calls: analysis.suspects(calls, all_prefixes=True),
    "guessers": lambda calls: analysis.guessers(calls, min_failed=2),
    "clock_offsets": analysis.clock_offsets,
    "limits": analysis.limits,
    "most_accepted": analysis.most_accepted,
    "cost": lambda calls: analysis.cost(calls, PRICES),
    "forecast": lambda calls: analysis.forecast(calls, PRICES, Decimal(10**9)),
    "forecast_by_day": lambda calls: analysis.forecast_by_day(calls, PRICES),
    "discrepancies": lambda calls: analysis.reconcile(calls, BILL, PRICES).discrepancies,
    "summary": lambda calls: analysis.reconcile(calls, BILL, PRICES).summary,
    "what_if": lambda calls: analysis.what_if(calls, RULE_SETS, PRICES, by="temp_id"),
    "what_if_sweep": lambda calls: analysis.what_if_sweep(calls, [1, 2], [60, 3600], PRICES),
    "calls": lambda calls: calls.head(200),
}


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.select_dtypes("number")


def _by_first(frame: pd.DataFrame) -> pd.api.typing.DataFrameGroupBy:
    return frame.groupby(frame.columns[0], observed=True, dropna=False)


OPERATIONS: dict[str, Callable[[pd.DataFrame], object]] = {
    "describe": lambda frame: frame.describe(include="all"),
    "info": lambda frame: frame.info(buf=io.StringIO()),
    "head": lambda frame: frame.head(),
    "sample": lambda frame: frame.sample(frac=0.5, random_state=1),
    "sum": lambda frame: _numbers(frame).sum(),
    "mean": lambda frame: _numbers(frame).mean(),
    "median": lambda frame: _numbers(frame).median(),
    "std": lambda frame: _numbers(frame).std(),
    "quantile": lambda frame: _numbers(frame).quantile([0.5, 0.9]),
    "cumsum": lambda frame: _numbers(frame).cumsum(),
    "diff": lambda frame: _numbers(frame).diff(),
    "pct_change": lambda frame: _numbers(frame).pct_change(fill_method=None),
    "rank": lambda frame: _numbers(frame).rank(),
    "round": lambda frame: _numbers(frame).round(2),
    "times two": lambda frame: _numbers(frame) * 2,
    "divided by another column": lambda frame: [_numbers(frame)[it] / 7 for it in _numbers(frame)],
    "divided by the sum": lambda frame: _numbers(frame) / _numbers(frame).sum(),
    "corr": lambda frame: _numbers(frame).corr(),
    "max": lambda frame: _numbers(frame).max(),
    "nlargest": lambda frame: frame.nlargest(3, _numbers(frame).columns[0]),
    "sort_values": lambda frame: frame.sort_values(list(frame.columns)),
    "value_counts": lambda frame: frame[frame.columns[0]].value_counts(dropna=False),
    "drop_duplicates": lambda frame: frame.drop_duplicates(),
    "groupby sum": lambda frame: _by_first(frame)[list(_numbers(frame).columns)].sum(),
    "groupby agg": lambda frame: _by_first(frame).agg(["count", "nunique"]),
    "pivot_table": lambda frame: frame.pivot_table(index=frame.columns[0], aggfunc="size", observed=True),
    "melt": lambda frame: frame.astype("string").melt(value_name="cell"),
    "query": lambda frame: [frame.query(f"{name} == {name}") for name in frame.columns],
    "eval": lambda frame: [frame.eval(f"twice = {name} * 2") for name in _numbers(frame).columns],
    "attributes": lambda frame: [getattr(frame, name).isna() for name in frame.columns],
    "fillna": lambda frame: _numbers(frame).fillna(0),
    "dropna": lambda frame: frame.dropna(how="all"),
    "merge": lambda frame: frame.merge(frame, on=list(frame.columns[:2])),
    "concat": lambda frame: pd.concat([frame, frame], ignore_index=True),
    "set_index": lambda frame: frame.set_index(list(frame.columns[:2])).sort_index(),
    "transpose": lambda frame: frame.T,
    "astype": lambda frame: frame.astype(dict.fromkeys(_numbers(frame).columns, "float64")),
    "to_numpy": lambda frame: _numbers(frame).to_numpy("float64", na_value=np.nan),
    "to_csv": lambda frame: pd.read_csv(io.StringIO(frame.to_csv(index=False))),
    "to_json": lambda frame: frame.to_json(orient="records", date_format="iso"),
    "to_parquet": lambda frame: pd.read_parquet(io.BytesIO(frame.to_parquet())),
    "to_markdown by text": lambda frame: frame.to_string(),
    "to_html": lambda frame: frame.to_html(),
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> dict[str, pd.DataFrame]:
    path = tmp_path_factory.mktemp("frames") / "calls.parquet"
    write_random_calls(path, 4_000)
    calls = analysis.read(path)
    return {name: make(calls) for name, make in FRAMES.items()}


def test_there_are_more_than_thirty_operations_and_a_frame_of_each_function(frames):
    assert len(OPERATIONS) > 30
    functions = {name for name in analysis.__all__ if name.islower()}
    others = {"read", "from_records", "from_frame", "readable", "reconcile", "span", "duration_s", "wilson"}
    others |= {"mobile_key", "recorded_sends", "side_by_side"}
    assert functions - others == {name.split()[0] for name in FRAMES} - {"discrepancies", "summary", "calls"}


@pytest.mark.parametrize("name", FRAMES)
def test_usual_operations_work(name, frames):
    frame, failed = frames[name], {}
    for operation, run in OPERATIONS.items():
        try:
            run(frame.copy())
        except Exception as problem:
            failed[operation] = repr(problem)[:200]
    assert not failed


@pytest.mark.parametrize("name", FRAMES)
def test_columns_are_names_that_no_method_of_a_frame_has(name, frames):
    wrong = [it for it in frames[name].columns if not it.isidentifier() or keyword.iskeyword(it)]
    assert not wrong
    assert not [it for it in frames[name].columns if hasattr(pd.DataFrame, it)]


@pytest.mark.parametrize("name", FRAMES)
def test_no_value_is_infinite_and_no_column_holds_objects(name, frames):
    frame = frames[name]
    assert not np.isinf(_numbers(frame).to_numpy("float64", na_value=np.nan)).any()
    assert "object" not in frame.dtypes.astype(str).tolist()


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_becomes_a_workbook(name, frames, tmp_path):
    frame = frames[name]
    frame.to_excel(tmp_path / "frame.xlsx", index=False)
    found = pd.read_excel(tmp_path / "frame.xlsx")
    assert list(found.columns) == list(frame.columns)
    assert len(found) == len(frame)


def test_shares_are_columns_that_end_in_ratio(frames):
    for name in ("share", "share_low", "conversion", "coverage"):
        assert not [frame for frame in frames.values() if name in frame]


def test_merges_by_return_code_keep_whole_numbers(frames):
    codes = frames["return_codes"]
    merged = codes.merge(frames["errors"], "outer", on=["endpoint", "return_code"])
    assert merged["return_code"].dtype == "Int64"
    assert merged["return_code"].dropna().isin([50009, 50000]).any()


def test_text_that_excel_would_run_is_shown_as_text(tmp_path):
    frame = analysis.from_records([]).reindex([0]).assign(request_id="=HYPERLINK(1)", source="-1")
    frame.to_excel(tmp_path / "calls.xlsx", index=False)
    found = pd.read_excel(tmp_path / "calls.xlsx", dtype=str)
    assert found[["request_id", "source"]].iloc[0].tolist() == ["'=HYPERLINK(1)", "'-1"]
