"""Guard: what may be loaded at all, and how much. A message to a real mobile costs money and annoys who gets it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from toolkit.api.errors import InputError
from toolkit.settings import Price

VENDOR_HOST = "api.sms.jpush.cn"


def check_allowed(base_url: str, allowed: Collection[str], pays: bool = False, is_capped: bool = False) -> None:
    """Raise InputError for a target that is neither this machine nor one of the ``allowed`` hosts.

    What may be sent to another machine has a cap; of the vendor's somebody must also have said that he ``pays``.
    """
    host = urlsplit(base_url).hostname or ""
    if is_this_machine(base_url):
        return
    if host not in {name.lower() for name in allowed}:
        raise InputError(
            f"{host} isn't this machine: each message may cost money and reach a stranger;"
            f" if it may be loaded all the same, give --allow-target {host}"
        )
    if _is_the_vendors(host) and not pays:
        raise InputError(
            f"{host} is the vendor's own: each message is billed; if so it shall be, give --i-pay-for-this"
        )
    if not is_capped:
        raise InputError(f"{host} isn't this machine: say what may be spent there, with --max-messages or --max-cost")


def cap_messages(max_messages: int | None, max_cost: str | None, price: Price | None) -> int | None:
    """Return how many messages a run may send, the lesser where both are given; None for as many as it can.

    What a cost buys is counted in whole sends at ``price.per_send``. Raise InputError where it can't be told, or where
    not a single message may be sent.
    """
    caps = [max_messages] if max_messages is not None else []
    if max_cost is not None:
        caps.append(_count_affordable(max_cost, price))
    if caps and min(caps) < 1:
        raise InputError("the run may not send a single message: give a larger --max-messages or --max-cost")
    return min(caps, default=None)


def _count_affordable(max_cost: str, price: Price | None) -> int:
    if price is None:
        raise InputError("--max-cost needs to know what a send costs: set SMSCODE_PRICE_PER_SEND")
    try:
        cost = Decimal(max_cost)
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite():
        raise InputError(f"--max-cost {max_cost!r}: write a number of {price.currency}, such as 12.50")
    return int(cost // price.per_send)


def _is_the_vendors(host: str) -> bool:
    return host.rstrip(".").lower() == VENDOR_HOST


def is_this_machine(base_url: str) -> bool:
    """Tell whether a target is on the loopback interface."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
