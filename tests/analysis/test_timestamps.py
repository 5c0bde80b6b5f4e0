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


def test_a_time_without_an_offset_is_in_the_time_zone_that_is_given():
    assert parse_time_ns("1970-01-01T08:00", "Asia/Shanghai") == 0
    assert parse_time_ns("1970-01-01T08:00:00Z", "Asia/Shanghai") == 8 * 3_600 * 10**9
    clocks_back = parse_time_ns("2026-10-25T02:30", "Europe/Berlin")  # it is 2:30 twice: the first one
    assert clocks_back == parse_time_ns("2026-10-25T00:30Z")


@pytest.mark.parametrize("when", ["", "yesterday-ish", "2026-13-01"])
def test_an_invalid_time_is_an_input_error(when):
    with pytest.raises(InputError, match=r"invalid time .*: expected a time as in"):
        parse_time_ns(when)
