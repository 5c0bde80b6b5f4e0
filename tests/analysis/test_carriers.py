import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber
from phonenumbers.carrier import name_for_number
from support.engines import ENGINES, OPEN
from support.random_calls import write_random_calls

from toolkit.analysis.calls_table import collect, lazy
from toolkit.analysis.carriers import carrier_names, carriers, locate


def _row(prefix):
    return tuple(None if pd.isna(it) else it for it in carriers([prefix]).iloc[0])


def test_a_prefix_has_its_carrier_and_province():
    assert _row("1380013") == ("1380013", "China Mobile", "Beijing")
    assert _row("1300050") == ("1300050", "China Unicom", "Guangdong")
    assert _row("1920001") == ("1920001", "China Broadnet", None)


@pytest.mark.parametrize("prefix", ["1600000", "138", "13800138", "138001x", "１３８００１３", "", "0000000"])
def test_an_unknown_prefix_has_nulls(prefix):
    assert _row(prefix) == (prefix, None, None)


def test_each_distinct_prefix_has_one_row_and_null_has_no_row():
    frame = carriers(["1380013", None, "1300050", "1380013", pd.NA])
    assert frame["prefix"].tolist() == ["1300050", "1380013"]


def test_without_prefixes_the_frame_is_empty_with_the_same_columns():
    assert carriers([]).dtypes.astype(str).tolist() == carriers(["1380013"]).dtypes.astype(str).tolist()


def test_the_names_are_those_of_the_countrys_carriers():
    assert carrier_names() == ("China Broadnet", "China Mobile", "China Telecom", "China Unicom")


@given(st.integers(1_300_000, 1_999_999))
def test_a_carriers_name_is_one_of_the_names(prefix):
    assert _row(str(prefix))[1] in (None, *carrier_names())


def test_the_carrier_is_that_of_phonenumbers():
    prefixes = [f"{number:07}" for number in range(0, 10**7, 1_237)]
    frame = carriers(prefixes, ["carrier"])
    names = [name_for_number(PhoneNumber(86, int(f"{prefix}0000")), "en") for prefix in prefixes]
    assert frame["carrier"].fillna("").tolist() == names


@pytest.mark.xdist_group("spark")
@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_locates_the_prefixes_of_its_calls(engine, tmp_path):
    write_random_calls(tmp_path / "calls.parquet", 1_000)
    calls = lazy(OPEN[engine](str(tmp_path / "calls.parquet")))
    frame = collect(locate(calls).select("prefix", "carrier", "province"))
    assert len(frame) == 1_000
    for row in frame.itertuples(index=False):
        prefix, *found = (None if pd.isna(it) else it for it in row)
        assert tuple(found) == ((None, None) if prefix is None else _row(prefix)[1:])
