import narwhals as nw
import pandas as pd
import pytest
from support.random_calls import write_random_calls

from toolkit import analysis
from toolkit.analysis.calls_table import COLUMNS, collect, lazy
from toolkit.api.errors import InputError
from toolkit.records.parquet import schema


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "calls.parquet"
    write_random_calls(path, 1_000)
    return path


def test_the_columns_are_those_of_a_record():
    assert sorted(COLUMNS) == sorted(schema().names)


def test_a_frame_is_accepted_though_pandas_converted_integers_to_floats(path):
    frame = pd.read_parquet(path)
    assert str(frame["return_code"].dtype) == "float64"
    without_keys = frame.drop(columns=["mobile_key", "msg_key"])
    pd.testing.assert_frame_equal(analysis.return_codes(without_keys), analysis.return_codes(analysis.read(path)))


def test_keys_that_went_through_floats_are_refused_if_needed(path):
    frame = pd.read_parquet(path)
    with pytest.raises(InputError, match="msg_key went through floats, which changes keys: read it as integers"):
        lazy(frame.drop(columns="mobile_key"))


def test_missing_columns_are_null_and_wait_ns_is_0():
    frame = pd.DataFrame({"started_ns": [1], "endpoint": ["send"], "latency_ns": [5]})
    row = collect(lazy(frame)).iloc[0]
    assert set(row.index) == set(COLUMNS)
    assert (row["wait_ns"], row[["return_code", "msg_id", "mobile_key"]].isna().all()) == (0, True)
    assert analysis.latency(frame)["p50_ms"].tolist() == [5e-6, 5e-6]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (pd.DataFrame({"started_ns": [1]}), "the frame of calls lacks endpoint, latency_ns"),
        ("runs/1", "a str is not a frame of calls: pass the result of"),
        (None, "a NoneType is not a frame of calls"),
    ],
)
def test_an_object_without_calls_is_an_input_error(calls, said):
    with pytest.raises(InputError, match=said):
        analysis.return_codes(calls)


def test_a_missing_needed_column_is_named():
    frame = pd.DataFrame({"started_ns": [1], "endpoint": ["send"], "latency_ns": [5]})
    with pytest.raises(InputError, match="lacks msg_key"):
        lazy(frame, "msg_key")


def test_a_narwhals_frame_is_accepted(path):
    sends = analysis.read(path).table.filter(nw.col("endpoint") == "send")
    assert analysis.return_codes(sends)["endpoint"].unique().tolist() == ["send"]
