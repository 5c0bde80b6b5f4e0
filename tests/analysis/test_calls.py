import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis.timestamps import parse_time_ns
from toolkit.api.errors import InputError
from toolkit.records.parquet import write_parquet

SECOND_NS = 1_000_000_000


@pytest.fixture
def calls(call, tmp_path):
    """Three sends at noon, a second later, and two seconds later."""
    noon = parse_time_ns("2026-11-06T12:00")
    records = [call(started_ns=noon + second * SECOND_NS, code=50000 + second) for second in range(3)]
    write_parquet(records, tmp_path / "calls.parquet")
    return analysis.read(tmp_path)


def _codes(calls):
    return sorted(calls.to_pandas()["return_code"])


def test_a_period_includes_its_start_and_excludes_its_end(calls):
    assert _codes(calls.between("2026-11-06T12:00", "2026-11-06T12:00:02")) == [50000, 50001]
    assert _codes(calls.between(since="2026-11-06T12:00:01")) == [50001, 50002]
    assert _codes(calls.between(until=pd.Timestamp("2026-11-06T20:00:01+08:00"))) == [50000]
    assert _codes(calls.between()) == [50000, 50001, 50002]


def test_an_invalid_time_is_an_input_error(calls):
    with pytest.raises(InputError, match="invalid time 'noon'"):
        calls.between("noon")


def test_calls_are_filtered_by_the_values_of_columns(calls):
    assert _codes(calls.where(endpoint="send", return_code=50001)) == [50001]
    assert _codes(calls.where()) == [50000, 50001, 50002]


def test_the_span_is_from_the_first_start_to_the_last_end(call):
    records = [call(started_ns=5, latency_ns=100), call(started_ns=3, latency_ns=1)]
    first, last = analysis.span(analysis.from_records(records))
    assert (first.value, last.value, str(first.tz)) == (3, 105, "UTC")
    assert analysis.duration_s(analysis.from_records(records)) == pytest.approx(102e-9)


def test_no_calls_have_no_span():
    none = analysis.from_records([])
    assert (analysis.span(none), analysis.duration_s(none)) == (None, 0.0)
