from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
from support.api import serving
from support.redis import free_port
from support.service import Running

from toolkit.api.errors import InputError
from toolkit.load_test.plan.target_guard import VENDOR_HOST, cap_messages, check_allowed, doubt_of
from toolkit.settings import Price, Target

PRICE = Price(Decimal("0.1"), "CNY")


HERE = pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8018", "http://localhost", "https://[::1]:1", "http://127.9.9.9"]
)


@HERE
def test_a_sandbox_on_this_machine_may_be_loaded(url: str) -> None:
    check_allowed(url, (), find_doubt=lambda: "")


@HERE
def test_a_doubtful_target_on_this_machine_needs_consent_and_a_cap(url: str) -> None:
    def doubt() -> str:
        return "HTTP 404"

    with pytest.raises(InputError, match=r"not known to be a sandbox \(HTTP 404\).*--max-messages") as caught:
        check_allowed(url, (), find_doubt=doubt)
    name = str(caught.value).partition("--allow-target ")[2].partition(",")[0]
    with pytest.raises(InputError, match="--allow-target"):
        check_allowed(url, (), is_capped=True, find_doubt=doubt)
    with pytest.raises(InputError, match="limit the messages"):
        check_allowed(url, [name], find_doubt=doubt)
    check_allowed(url, [name], is_capped=True, find_doubt=lambda: pytest.fail("it was asked although all is given"))


@pytest.mark.parametrize("state", [None, {"sandbox": 1}, {"sandbox": "true"}, {}, [True], True, "x" * 20_000], ids=repr)
def test_only_a_target_that_says_so_is_a_sandbox(state: object) -> None:
    with serving() as api:
        assert doubt_of(api.target) == ""
        api.state = state
        assert "GET /sandbox/state" in doubt_of(api.target)
        api.state = {"sandbox": False}
        assert doubt_of(api.target) == "it delivers its messages"


def test_a_real_sandbox_says_so_only_to_its_app(sandbox: Running) -> None:
    target = Target(sandbox.url, sandbox.app_key, sandbox.master_secret)
    assert doubt_of(target) == ""
    assert "HTTP 401" in doubt_of(replace(target, master_secret="wrong"))


def test_a_target_that_cannot_be_reached_or_is_not_http_is_in_doubt() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert "refused" in doubt_of(Target(url, "key", "secret"))
    assert "failed" in doubt_of(Target("https://nope.invalid", "key", "secret"))
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        asking = pool.submit(doubt_of, Target(f"http://127.0.0.1:{listener.getsockname()[1]}", "key", "secret"))
        with listener.accept()[0] as connection:
            connection.sendall(b"not HTTP\r\n\r\n")
        assert "failed" in asking.result()


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1", "http://0.0.0.0", "https://sms.example.org", "http://[2001:db8::1]"]
)
def test_another_machine_must_be_allowed_by_its_name(url: str) -> None:
    with pytest.raises(InputError, match="--allow-target") as caught:
        check_allowed(url, ["example.org"], pays=True, is_capped=True)
    check_allowed(url, [str(caught.value).split()[-1]], is_capped=True)  # whatever it says of itself


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
