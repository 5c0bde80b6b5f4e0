from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from toolkit.api.errors import InputError, SettingsError
from toolkit.settings import load_timezone
from toolkit.time_zone import parse_timezone, utc_offsets

HOUR_NS = 3_600 * 10**9


@pytest.mark.parametrize("name", ["", "Asia", "Beijing", "+08:00", "utc", "../etc/passwd", "/etc/passwd"])
def test_an_invalid_time_zone_is_refused_with_a_form_that_works(name):
    with pytest.raises(InputError, match=r"invalid timezone .*: expected an IANA name, e.g. Asia/Shanghai"):
        parse_timezone(name)


def test_a_misspelt_time_zone_gets_the_closest_name():
    with pytest.raises(InputError, match=r"did you mean Asia/Shanghai\?"):
        parse_timezone("Asia/Shangai")


@pytest.mark.parametrize("name", ["Asia/Shanghai", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"])
def test_the_offsets_of_a_period_are_those_of_each_of_its_hours(name):
    first, zone = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), ZoneInfo(name)
    offsets = utc_offsets(name, first * 10**9, (first + 400 * 86_400) * 10**9)
    for hour in range(400 * 24):
        at = first + hour * 3_600
        (found,) = [it for since, it in offsets if since <= at * 10**9][-1:]
        expected = datetime.fromtimestamp(at, zone).utcoffset()
        assert found == round(expected.total_seconds()) * 10**9


def test_china_has_one_offset():
    assert utc_offsets("Asia/Shanghai", 0, 0) == ((0, 8 * HOUR_NS),)


def test_the_time_zone_is_an_argument_a_variable_or_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_timezone() == "UTC"
    (tmp_path / "smscode.toml").write_text('timezone = "Asia/Tokyo"\n')
    assert load_timezone() == "Asia/Tokyo"
    monkeypatch.setenv("SMSCODE_TIMEZONE", "Asia/Shanghai")
    assert (load_timezone(), load_timezone("Europe/Berlin")) == ("Asia/Shanghai", "Europe/Berlin")
    monkeypatch.setenv("SMSCODE_TIMEZONE", "Beijing")
    with pytest.raises(SettingsError, match=r"^invalid SMSCODE_TIMEZONE: expected an IANA name"):
        load_timezone()
