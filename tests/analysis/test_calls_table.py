import narwhals as nw
import pandas as pd
import pyarrow as pa
import pytest
from support.random_calls import write_random_calls

from toolkit import analysis
from toolkit.analysis.calls_table import COLUMNS, code_dtype, collect, lazy, tidy, to_ns, width_ns
from toolkit.api.errors import InputError
from toolkit.records.call_record import schema


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "calls.parquet"
    write_random_calls(path, 1_000)
    return path


def test_the_columns_are_those_of_a_record():
    assert sorted(COLUMNS) == sorted(schema().names)


def test_a_frame_that_pandas_reads_by_itself_will_do_though_nulls_made_floats_of_numbers(path):
    frame = pd.read_parquet(path)
    assert str(frame["return_code"].dtype) == "float64"
    pd.testing.assert_frame_equal(analysis.return_codes(frame), analysis.return_codes(analysis.read(path)))


def test_keys_that_went_through_floats_are_refused_where_they_are_needed(path):
    frame = pd.read_parquet(path)
    assert collect(lazy(frame).select("msg_key"))["msg_key"].isna().all()
    with pytest.raises(InputError, match="msg_key went through floats, which changes keys: give what"):
        lazy(frame, "msg_key")


def test_columns_that_a_frame_lacks_are_null_and_nobody_waited():
    frame = pd.DataFrame({"started_ns": [1], "endpoint": ["send"], "latency_ns": [5]})
    row = collect(lazy(frame)).iloc[0]
    assert set(row.index) == set(COLUMNS)
    assert (row["wait_ns"], row[["return_code", "msg_id", "mobile_key"]].isna().all()) == (0, True)
    assert analysis.latency(frame)["p50_ms"].tolist() == [5e-6, 5e-6]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        (pd.DataFrame({"started_ns": [1]}), "it lacks endpoint, latency_ns"),
        ("runs/1", "a str holds no calls: give what read returns"),
        (None, "a NoneType holds no calls"),
    ],
)
def test_what_holds_no_calls_is_an_input_error(calls, said):
    with pytest.raises(InputError, match=said):
        analysis.return_codes(calls)


def test_a_column_that_a_function_needs_is_named_where_it_is_missing():
    frame = pd.DataFrame({"started_ns": [1], "endpoint": ["send"], "latency_ns": [5]})
    with pytest.raises(InputError, match="lacks msg_key"):
        lazy(frame, "msg_key")


def test_a_narwhals_frame_will_do(path):
    sends = analysis.read(path).table.filter(nw.col("endpoint") == "send")
    assert analysis.return_codes(sends)["endpoint"].unique().tolist() == ["send"]


def test_return_codes_are_categories_of_the_table_and_of_what_was_found():
    dtype = code_dtype(pd.Series([50031, None, 50009], dtype="Int64"))
    assert (dtype.categories[0], dtype.categories[-1], len(dtype.categories)) == (50000, 50031, 21)


def test_sums_wider_than_64_bits_become_whole_numbers():
    assert str(tidy(pa.table({"total": pa.array([2**40]).cast(pa.decimal128(38, 0))}))["total"].dtype) == "int64"


@pytest.mark.parametrize("every", ["", "0s", "-1s", "soon", "NaT"])
def test_what_is_no_width_of_a_bucket_is_an_input_error(every):
    with pytest.raises(InputError, match="no width of a bucket"):
        width_ns(every)


@pytest.mark.parametrize(
    ("when", "ns"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 1_000_000_000),
        ("1970-01-01T08:00:00+08:00", 0),
        (pd.Timestamp("1970-01-02", tz="UTC"), 86_400_000_000_000),
    ],
)
def test_a_time_is_utc_where_it_does_not_say(when, ns):
    assert to_ns(when) == ns


@pytest.mark.parametrize("when", ["", "yesterday-ish", "2026-13-01"])
def test_what_is_no_time_is_an_input_error(when):
    with pytest.raises(InputError, match="is no time: write it as"):
        to_ns(when)
