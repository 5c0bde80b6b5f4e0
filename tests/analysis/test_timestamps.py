import pandas as pd
import pytest

from toolkit.analysis.timestamps import parse_time_ns, parse_width_ns
from toolkit.api.errors import InputError


@pytest.mark.parametrize("every", ["", "0s", "-1s", "soon", "NaT"])
def test_an_invalid_bucket_width_is_an_input_error(every):
    with pytest.raises(InputError, match="invalid bucket width"):
        parse_width_ns(every)


@pytest.mark.parametrize(
    ("when", "ns"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 1_000_000_000),
        ("1970-01-01T08:00:00+08:00", 0),
        (pd.Timestamp("1970-01-02", tz="UTC"), 86_400_000_000_000),
    ],
)
def test_a_time_without_an_offset_is_utc(when, ns):
    assert parse_time_ns(when) == ns


@pytest.mark.parametrize("when", ["", "yesterday-ish", "2026-13-01"])
def test_an_invalid_time_is_an_input_error(when):
    with pytest.raises(InputError, match=r"invalid time .*: write it as"):
        parse_time_ns(when)
