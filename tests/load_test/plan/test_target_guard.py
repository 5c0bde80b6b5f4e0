from __future__ import annotations

from decimal import Decimal

import pytest

from toolkit.api.errors import InputError
from toolkit.load_test.plan.target_guard import VENDOR_HOST, cap_messages, check_allowed
from toolkit.settings import Price

PRICE = Price(Decimal("0.1"), "CNY")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8018", "http://localhost", "https://[::1]:1", "http://127.9.9.9"])
def test_this_machine_may_be_loaded(url: str) -> None:
    check_allowed(url, ())


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1", "http://0.0.0.0", "https://sms.example.org", "http://[2001:db8::1]"]
)
def test_another_machine_must_be_allowed_by_its_name(url: str) -> None:
    with pytest.raises(InputError, match="--allow-target") as caught:
        check_allowed(url, ["example.org"], pays=True, is_capped=True)
    check_allowed(url, [str(caught.value).split()[-1]], is_capped=True)


def test_what_is_sent_to_another_machine_has_a_cap() -> None:
    with pytest.raises(InputError, match="--max-messages"):
        check_allowed("https://sms.example.org", ["sms.example.org"])


@pytest.mark.parametrize("url", [f"https://{VENDOR_HOST}", f"https://{VENDOR_HOST.upper()}", f"https://{VENDOR_HOST}."])
def test_the_vendors_host_must_be_allowed_and_paid_for(url: str) -> None:
    allowed = [VENDOR_HOST, f"{VENDOR_HOST}."]
    with pytest.raises(InputError, match="--i-pay-for-this"):
        check_allowed(url, allowed, is_capped=True)
    with pytest.raises(InputError, match="--allow-target"):
        check_allowed(url, (), pays=True, is_capped=True)
    check_allowed(url, allowed, pays=True, is_capped=True)


@pytest.mark.parametrize(
    ("max_messages", "max_cost", "cap"),
    [(None, None, None), (5, None, 5), (None, "0.35", 3), (5, "0.35", 3), (2, "0.35", 2), (None, "0.3", 3)],
)
def test_a_cap_is_the_lesser_in_whole_messages_without_a_floats_error(
    max_messages: int | None, max_cost: str | None, cap: int | None
) -> None:
    assert cap_messages(max_messages, max_cost, PRICE) == cap


@pytest.mark.parametrize(
    ("max_messages", "max_cost", "price"),
    [(0, None, PRICE), (-1, None, PRICE), (None, "0.09", PRICE), (None, "much", PRICE), (None, "1", None)]
    + [(None, text, PRICE) for text in ("nan", "inf", "-1", "")],
)
def test_a_cap_that_allows_nothing_or_means_nothing_is_refused(
    max_messages: int | None, max_cost: str | None, price: Price | None
) -> None:
    with pytest.raises(InputError):
        cap_messages(max_messages, max_cost, price)
