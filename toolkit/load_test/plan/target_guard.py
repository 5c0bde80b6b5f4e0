"""Decide whether a target may be loaded, and with how many messages: each costs money and may reach a stranger."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from toolkit.api.errors import InputError
from toolkit.settings import Price

VENDOR_HOST = "api.sms.jpush.cn"


def check_allowed(base_url: str, allowed: Collection[str], pays: bool = False, is_capped: bool = False) -> None:
    """Check that a target may be loaded. This machine always may.

    Args:
        base_url: The target.
        allowed: Names of other hosts that may be loaded.
        pays: Whether the vendor's host may be loaded too, which bills each message.
        is_capped: Whether the number of messages has a maximum. Another machine needs one.

    Raises:
        InputError: The target may not be loaded. The message names the missing option.

    >>> check_allowed("http://127.0.0.1:8018", allowed=())
    """
    host = urlsplit(base_url).hostname or ""
    if is_this_machine(base_url):
        return
    if host not in {name.lower() for name in allowed}:
        raise InputError(
            f"{host} is not this machine: each message may cost money and reach a stranger;"
            f" if it may be loaded, give --allow-target {host}"
        )
    if host.rstrip(".").lower() == VENDOR_HOST and not pays:
        raise InputError(f"{host} is the vendor's host, which bills each message: give --i-pay-for-this to load it")
    if not is_capped:
        raise InputError(f"{host} is not this machine: limit the messages with --max-messages or --max-cost")


def cap_messages(max_messages: int | None, max_cost: str | None, price: Price | None) -> int | None:
    """Return the maximum number of messages, the smaller of two limits; None without a limit.

    Args:
        max_messages: Limit of messages.
        max_cost: Limit of cost, a decimal number in the price's currency. It pays for whole sends.
        price: Price of a send, required for ``max_cost``.

    Raises:
        InputError: The cost is not a number, its price is unknown, or the limit allows no message.

    >>> from decimal import Decimal
    >>> cap_messages(100, "1.00", Price(Decimal("0.045"), "CNY"))
    22
    """
    caps = [max_messages] if max_messages is not None else []
    if max_cost is not None:
        if price is None:
            raise InputError("--max-cost needs the price of a send: set SMSCODE_PRICE_PER_SEND")
        try:
            cost = Decimal(max_cost)
        except InvalidOperation:
            cost = Decimal("NaN")
        if not cost.is_finite():
            raise InputError(f"invalid --max-cost {max_cost!r}: expected a number of {price.currency}, e.g. 12.50")
        caps.append(int(cost // price.per_send))
    if caps and min(caps) < 1:
        raise InputError("the run may not send a single message: give a larger --max-messages or --max-cost")
    return min(caps, default=None)


def is_this_machine(base_url: str) -> bool:
    """Return whether a target is on the loopback interface."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
