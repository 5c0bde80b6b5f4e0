"""A frame of any engine is read as the same calls, or refused with the column and the cure; nothing gives zeros."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from support.engines import spark

from toolkit import analysis
from toolkit.api.errors import InputError
from toolkit.price_list import PriceList, PriceRow, Unit
from toolkit.records.call_record import hash64

NOON_NS = 1_793_966_400_000_000_000
PRICES = PriceList((PriceRow(date(2026, 1, 1), Decimal("0.05"), "CNY"),), unit=Unit.SEND)


@pytest.fixture(scope="module")
def frame(call) -> pd.DataFrame:
    """Twenty sends, their verifies, and two refusals with a 5xx."""
    records = []
    for number in range(20):
        ids = {"msg_id": f"m{number}", "msg_key": hash64(f"m{number}"), "app_key": "a"}
        sent = {"mobile_key": 2**62 + number % 7, "prefix": "1380013", "temp_id": 1, "segments": 1, **ids}
        at_ns = NOON_NS + number * 10**9
        code = 50000 if number % 5 else 50009
        records.append(call(started_ns=at_ns, code=code, **sent))
        records.append(call("verify", 50010 if number % 3 else 50000, started_ns=at_ns + 10**8, **ids))
    records += [call(code=50019, started_ns=NOON_NS + 10**10 + it, app_key="a") for it in range(2)]
    return analysis.from_records(records)


def answers(calls: Any) -> dict[str, pd.DataFrame]:
    """Ask each kind of question once."""
    return {
        "codes": analysis.return_codes(calls),
        "latency": analysis.latency(calls),
        "cost": analysis.cost(calls, PRICES, by=()),
        "errors": analysis.errors(calls),
        "budget": analysis.error_budget(calls),
        "suspects": analysis.suspects(calls, every="1min", all_prefixes=True),
        "guessers": analysis.guessers(calls, min_failed=1),
        "most": analysis.most_accepted(calls, ["1min"]),
    }


def check(changed: Any, frame: pd.DataFrame) -> None:
    expected = answers(frame)
    for name, found in answers(changed).items():
        pd.testing.assert_frame_equal(found, expected[name], obj=name)


def _plain(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame.drop(columns="started"), preserve_index=False).replace_schema_metadata(None)


ENGINES = {
    "pandas with numpy dtypes": lambda frame: frame,
    "pandas with nullable dtypes": lambda frame: frame.convert_dtypes(),
    "pandas with Arrow dtypes": lambda frame: _plain(frame).to_pandas(types_mapper=pd.ArrowDtype),
    "pandas with objects": lambda frame: frame.drop(columns="started").astype(object),
    "polars": lambda frame: pl.from_arrow(_plain(frame)),
    "a lazy polars frame": lambda frame: pl.from_arrow(_plain(frame)).lazy(),
    "Arrow": _plain,
    "DuckDB": lambda frame: duckdb.connect().from_arrow(_plain(frame)),
    "a checked frame": analysis.from_frame,
}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_calls_give_the_same_answers_in_every_kind_of_frame(engine, frame):
    check(ENGINES[engine](frame), frame)


def test_spark_gives_the_same_answers(frame):
    check(spark().createDataFrame(_plain(frame)), frame)


TEXT_CODES = {"return_code": "string", "http_status": "string", "mobile_key": "string", "temp_id": "string"}
CERTAIN = {
    "text return codes": lambda frame: frame.astype(TEXT_CODES),
    "text return codes with a point": lambda frame: frame.assign(
        return_code=frame["return_code"].astype("float64").astype(str)
    ),
    "float return codes": lambda frame: frame.astype({"return_code": "float64", "temp_id": "float64"}),
    "unsigned and small integers": lambda frame: frame.astype({"return_code": "UInt32", "started_ns": "uint64"}),
    "endpoints in capitals": lambda frame: frame.assign(endpoint=frame["endpoint"].astype("string").str.upper()),
    "endpoints with blanks": lambda frame: frame.assign(endpoint=" " + frame["endpoint"].astype("string").str.title()),
    "kinds in small letters": lambda frame: frame.assign(kind=frame["kind"].astype("string").str.lower()),
    "no kind": lambda frame: frame.drop(columns="kind"),
    "times of a zone": lambda frame: frame.assign(started_ns=frame["started"].dt.tz_convert("Asia/Shanghai")),
    "times of a zone in Arrow": lambda frame: frame.assign(
        started_ns=frame["started"].astype(pd.ArrowDtype(pa.timestamp("ns", "UTC")))
    ),
    "started in place of started_ns": lambda frame: frame.drop(columns="started_ns"),
    "durations": lambda frame: frame.assign(latency_ns=pd.to_timedelta(frame["latency_ns"])),
    "an index": lambda frame: frame.set_index(frame["started"]),
    "more columns": lambda frame: frame.assign(table="x", absent=1, note=[{"a": 1}] * len(frame)),
    "columns in another order": lambda frame: frame[sorted(frame.columns, reverse=True)],
}


@pytest.mark.parametrize("change", CERTAIN)
def test_values_whose_meaning_is_certain_are_accepted(change, frame):
    check(CERTAIN[change](frame), frame)


def _with(name: str, value: Any) -> Any:
    """Return a function that replaces the first value of a column."""
    return lambda frame: frame.assign(
        **{name: [value, *frame[name].astype(object).where(frame[name].notna(), None).tolist()[1:]]}
    )


REFUSED = {
    "an unknown endpoint": (
        _with("endpoint", "/v1/codes"),
        "column endpoint .*unknown endpoint '/v1/codes', expected send",
    ),
    "an unknown kind": (_with("kind", "fatal"), "column kind .*unknown kind 'fatal', expected OK"),
    "a word as return code": (
        lambda frame: frame.assign(return_code=["OK", *["50000"] * (len(frame) - 1)]),
        "column return_code .*'OK' is not a whole number",
    ),
    "text among numbers": (
        _with("return_code", "50000"),
        r"column return_code .*mixes int and str .*astype\(\"Int64\"\)",
    ),
    "a broken return code": (
        lambda frame: frame.assign(return_code=frame["return_code"].astype("float64") + 0.5),
        "column return_code .*50019.5 is not a whole number; round it",
    ),
    "times without a zone": (
        lambda frame: frame.assign(started_ns=frame["started"].dt.tz_localize(None)),
        r"column started_ns .*no time zone; .*tz_localize\(\"UTC\"\)",
    ),
    "times as text": (
        lambda frame: frame.assign(started_ns=frame["started"].astype(str)),
        "column started_ns .*is not a whole number",
    ),
    "started as text": (
        lambda frame: frame.drop(columns="started_ns").assign(started=frame["started"].astype(str)),
        r"lacks started_ns, and its column started has no times: .*to_datetime",
    ),
    "milliseconds": (
        lambda frame: frame.assign(started_ns=frame["started_ns"] // 10**6),
        r"column started_ns .*seems to be in ms, expected ns since 1970; multiply it by 10\*\*6",
    ),
    "a missing time": (_with("started_ns", None), r"column started_ns .*1 calls have none; .*dropna"),
    "keys that went through floats": (
        lambda frame: frame.astype({"mobile_key": "float64"}),
        "column mobile_key .*went through floats, which changes keys: read it as integers",
    ),
    "numbers as the error": (lambda frame: frame.assign(error=1.5), "column error .*is Float64, expected text"),
    "no return codes": (
        lambda frame: frame.drop(columns=["return_code", "http_status"]),
        "lacks return_code: add the API's return codes",
    ),
    "no latency": (lambda frame: frame.drop(columns="latency_ns"), "lacks latency_ns: rename its columns"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_column_that_is_not_certain_is_refused_by_every_function_with_a_cure(change, frame):
    wrong, said = REFUSED[change]
    changed = wrong(frame)
    for ask in (analysis.return_codes, analysis.errors, analysis.error_budget, analysis.limits, analysis.span):
        if ask in (analysis.span, analysis.errors) and change == "no return codes":
            continue  # one needs none, the other has a class for calls of which the code is unknown
        with pytest.raises(InputError, match=said):
            ask(changed)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("mobile_key", analysis.limits),
        ("msg_key", analysis.suspects),
        ("msg_id", lambda calls: analysis.reconcile(calls, "statement.csv")),
    ],
)
def test_a_missing_column_that_a_question_needs_is_named(name, ask, frame):
    for lacking in (frame.drop(columns=name), analysis.from_frame(frame.drop(columns=name))):
        with pytest.raises(InputError, match=f"the frame of calls lacks {name}"):
            ask(lacking)


def test_a_file_that_another_tool_wrote_is_checked_too(frame, tmp_path):
    changed = CERTAIN["endpoints in capitals"](CERTAIN["text return codes"](frame)).drop(columns=["started", "kind"])
    changed.to_parquet(tmp_path / "calls.parquet")
    check(analysis.read(tmp_path / "calls.parquet"), frame)
    changed.assign(endpoint="sms").to_parquet(tmp_path / "wrong.parquet")
    with pytest.raises(InputError, match="unknown endpoint 'sms'"):
        analysis.read(tmp_path / "wrong.parquet")


def test_calls_have_a_length_and_a_head(frame):
    calls = analysis.from_frame(frame)
    assert len(calls) == len(frame)
    assert calls.head()["started_ns"].tolist() == sorted(frame["started_ns"])[:5]
    assert len(calls.head(3)) == 3
    assert list(calls.head().columns) == list(calls.to_pandas().columns)
    assert len(calls.where(endpoint="send").between("2027-01-01")) == 0


def test_codes_that_a_frame_lacks_are_those_of_http_statuses_that_have_one():
    statuses = [200, 401, 500, 403, 502, 200]
    frame = pd.DataFrame({"started_ns": range(6), "endpoint": "send", "latency_ns": 1, "http_status": statuses})
    frame["error"] = [None] * 5 + ["reset"]
    wanted = [50000, 50002, 50019, None, None, None]
    for given in (frame, frame.assign(return_code=None), frame.assign(return_code=[50000, *[None] * 5])):
        calls = analysis.from_frame(given)
        codes = calls.to_pandas().sort_values("started_ns")["return_code"]
        assert [None if pd.isna(it) else it for it in codes] == wanted
        assert calls.inferred == 3 - ("return_code" in given and int(given["return_code"].notna().sum()))
        assert f", {calls.inferred} return codes inferred from the HTTP status" in repr(calls)
    assert analysis.errors(frame)["return_code"].dropna().tolist() == [50002, 50019]
    assert analysis.error_budget(frame, "99%")[["server", "transport"]].values.tolist() == [[2, 1]]
