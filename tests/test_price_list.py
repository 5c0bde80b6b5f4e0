from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError, SettingsError
from toolkit.price_list import PricedTemplate, PriceList, PriceRow, Unit, parse_price_list
from toolkit.settings import load_prices, load_target

DAY = date(2026, 11, 6)
TYPES, CARRIERS = ("code", "notice"), ("China Mobile", "China Unicom")
TEMPLATES = (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2))
FILE = """
[[templates]]
temp_id = 1
type = "code"
segments = 2
[[prices]]
since = 2026-11-01
per_segment = "0.045"
currency = "CNY"
template_type = "code"
carrier = "China Mobile"
[[prices]]
since = "2026-11-02"
per_segment = "0.05"
currency = "CNY"
"""


def row(text: str, since: date = DAY, template_type: str | None = None, carrier: str | None = None) -> PriceRow:
    return PriceRow(since, Decimal(text), "CNY", template_type, carrier)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMSCODE_PRICE_PER_SEND", raising=False)
    return tmp_path


def test_a_price_applies_from_its_day_on() -> None:
    prices = PriceList((row("0.04", DAY), row("0.05", DAY + timedelta(1))))
    days = [DAY - timedelta(1), DAY, DAY + timedelta(1), DAY + timedelta(9)]
    assert [prices.find(day, None, None) for day in days] == [None, Decimal("0.04"), Decimal("0.05"), Decimal("0.05")]


def test_the_most_specific_price_applies_even_if_another_is_newer() -> None:
    newer = DAY + timedelta(1)
    prices = PriceList((row("0.01", DAY, "code"), row("0.02", newer)), TEMPLATES)
    assert prices.find(newer, "code", None) == Decimal("0.01")
    assert prices.find(newer, "notice", None) == Decimal("0.02")


def test_a_type_is_more_specific_than_a_carrier_and_both_than_either() -> None:
    rows = (row("1"), row("2", carrier=CARRIERS[0]), row("3", DAY, "code"), row("4", DAY, "code", CARRIERS[0]))
    prices = PriceList(rows, TEMPLATES)
    found = {each: prices.find(DAY, *each) for each in product(TYPES, CARRIERS)}
    assert found == {
        ("code", CARRIERS[0]): 4,
        ("code", CARRIERS[1]): 3,
        ("notice", CARRIERS[0]): 2,
        ("notice", CARRIERS[1]): 1,
    }
    assert PriceList(rows[:3], TEMPLATES).find(DAY, "code", CARRIERS[0]) == 3


def test_a_send_of_an_unknown_carrier_or_type_has_the_general_price_or_none() -> None:
    assert PriceList((row("2", carrier=CARRIERS[0]),)).find(DAY, None, None) is None
    assert PriceList((row("2", carrier=CARRIERS[0]), row("1"))).find(DAY, None, None) == 1


@given(
    rows=st.lists(
        st.builds(
            lambda at, days, of_type, carrier: row(str(at), DAY + timedelta(days), of_type, carrier),
            st.integers(0, 9),
            st.integers(-2, 2),
            st.sampled_from([None, *TYPES]),
            st.sampled_from([None, *CARRIERS]),
        ),
        max_size=8,
        unique_by=lambda it: (it.since, it.template_type, it.carrier),
    ),
    of_type=st.sampled_from([None, *TYPES]),
    carrier=st.sampled_from([None, *CARRIERS]),
)
def test_the_price_found_is_the_first_in_the_order_of_the_rules(rows, of_type, carrier) -> None:
    steps = [(of_type, carrier), (of_type, None), (None, carrier), (None, None)]
    candidates = [
        it
        for step in steps
        for it in sorted(rows, key=lambda it: it.since, reverse=True)
        if (it.template_type, it.carrier) == step and it.since <= DAY
    ]
    expected = candidates[0].per_segment if candidates else None
    assert PriceList(tuple(rows), TEMPLATES).find(DAY, of_type, carrier) == expected


@pytest.mark.parametrize("price", ["-0.01", "NaN", "Infinity", "0.0000001", "100000"])
def test_what_is_no_price_is_an_input_error(price: str) -> None:
    with pytest.raises(InputError, match="invalid price"):
        row(price)


def test_trailing_zeros_after_the_sixth_place_are_allowed() -> None:
    assert row("0.0450000000").per_segment == Decimal("0.045")


def test_a_file_of_prices_is_read(folder: Path) -> None:
    Path("prices.toml").write_text(FILE)
    prices = load_prices("prices.toml")
    first = PriceRow(date(2026, 11, 1), Decimal("0.045"), "CNY", "code", "China Mobile")
    second = PriceRow(date(2026, 11, 2), Decimal("0.05"), "CNY")
    assert prices == PriceList((first, second), (PricedTemplate(1, "code", 2),), Unit.SEGMENT)
    assert prices.currency == "CNY"


def test_the_settings_file_may_contain_prices(folder: Path) -> None:
    Path("smscode.toml").write_text(f'base_url = "http://127.0.0.1"\napp_key = "a"\nmaster_secret = "s"\n{FILE}')
    assert len(load_prices().rows) == 2
    assert load_target().app_key == "a"


def test_without_prices_the_price_of_a_send_covers_all_its_segments(folder: Path) -> None:
    templates = FILE.split("[[prices]]")[0]
    Path("smscode.toml").write_text(f'price_per_send = "0.09"\ncurrency = "EUR"\n{templates}')
    prices = load_prices()
    assert (prices.unit, prices.currency, prices.find(DAY, "code", None)) == (Unit.SEND, "EUR", Decimal("0.09"))
    assert prices.templates == (PricedTemplate(1, "code", 2),)


def test_prices_replace_the_price_of_a_send(folder: Path) -> None:
    Path("smscode.toml").write_text(f'price_per_send = "0.09"\n{FILE}')
    assert load_prices().unit is Unit.SEGMENT


def test_without_any_price_the_list_is_empty(folder: Path) -> None:
    assert (load_prices(), load_prices().currency) == (PriceList(unit=Unit.SEND), None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("per_segment", "per_segmnt", "[[prices]] number 1: unknown key 'per_segmnt' (did you mean per_segment?)"),
        ("[[prices]]", "[[price]]", "unknown key 'price' (did you mean prices?)"),
        ("[[prices]]", "[[zzz]]", "unknown key 'zzz' (choose from prices, templates)"),
        ("[[templates]]", "[templates]", "expected [[templates]] above each row"),
        ('currency = "CNY"\n', "", "[[prices]] number 1: currency is missing: expected an ISO 4217 code, e.g. CNY"),
        ('"0.045"', "0.045", "[[prices]] number 1: invalid per_segment 0.045: expected a decimal as text"),
        ('"0.045"', '"cheap"', "invalid per_segment 'cheap': expected a decimal as text"),
        ('"0.045"', '"nan"', "invalid per_segment 'nan': expected a decimal as text"),
        ('"0.045"', '"-1"', "from 0 on, with at most 6 places"),
        ("2026-11-01", '"2026-11-31"', "invalid since '2026-11-31': expected a day, e.g. 2026-11-01"),
        ("2026-11-01", "2026-11-01T08:00:00", "expected a day"),
        ("2026-11-01", "5", "invalid since 5: expected a day"),
        ('"2026-11-02"', '"2026-11-01"\ntemplate_type = "code"\ncarrier = "China Mobile"', "is given twice"),
        ('"CNY"', '"yuan"', "invalid currency 'yuan': expected an ISO 4217 code"),
        ('"CNY"', '"EUR"', "prices in CNY and EUR can't be added up: give each currency its own list"),
        ('template_type = "code"', 'template_type = "cod"', "unknown template_type 'cod' in [[prices]]: did you mean"),
        ('carrier = "China Mobile"', 'carrier = ""', "invalid carrier ''"),
        ("temp_id = 1", "temp_id = true", "invalid temp_id True: expected a whole number"),
        ("segments = 2", "segments = 0", "invalid segments 0: expected a whole number from 1 to 99"),
        ("[[prices]]", '[[templates]]\ntemp_id = 1\ntype = "x"\n[[prices]]', "a template of 1 is given twice"),
    ],
)
def test_the_error_for_an_invalid_file_names_the_place(folder: Path, old: str, new: str, said: str) -> None:
    assert old in FILE
    Path("prices.toml").write_text(FILE.replace(old, new, 1))
    with pytest.raises(SettingsError) as caught:
        load_prices("prices.toml")
    assert str(caught.value).startswith("prices.toml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_invalid_prices_in_the_settings_file_do_not_affect_the_target(folder: Path) -> None:
    target = 'base_url = "http://127.0.0.1"\napp_key = "a"\nmaster_secret = "s"\n'
    Path("smscode.toml").write_text(target + FILE.replace("0.045", "cheap"))
    assert load_target().app_key == "a"
    with pytest.raises(SettingsError, match=r"smscode\.toml: \[\[prices\]\] number 1: invalid per_segment"):
        load_prices()


def test_a_misspelt_list_in_the_settings_file_is_an_unknown_setting(folder: Path) -> None:
    Path("smscode.toml").write_text(FILE.replace("[[prices]]", "[[price]]"))
    with pytest.raises(SettingsError, match="unknown setting price"):
        load_target()


@pytest.mark.parametrize("text", ["", FILE.split("[[prices]]")[0], "[[prices"])
def test_the_error_for_a_file_without_prices_names_the_file(folder: Path, text: str) -> None:
    Path("prices.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"prices\.toml (has no prices: write \[\[prices\]\]|is not TOML)"):
        load_prices("prices.toml")


def test_the_error_for_a_missing_file_names_the_file(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"prices\.toml can't be read"):
        load_prices("prices.toml")


def test_the_error_for_a_price_of_a_send_with_too_many_places_is_one_line(folder: Path) -> None:
    Path("smscode.toml").write_text('price_per_send = "0.00000001"\n')
    with pytest.raises(SettingsError, match=r"invalid price_per_send in smscode\.toml"):
        load_prices()


def test_an_error_begins_with_the_name_of_the_file() -> None:
    with pytest.raises(SettingsError, match=r"^mine\.toml: invalid prices {}: expected \[\[prices\]\] above each row"):
        parse_price_list({"prices": {}}, "mine.toml")
