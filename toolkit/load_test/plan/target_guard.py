"""Decide whether a target may be loaded, and with how many messages: each costs money and may reach a stranger."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from toolkit.api.basic_auth import Credentials
from toolkit.api.errors import InputError
from toolkit.api.wire import SANDBOX_STATE_PATH
from toolkit.load_test.plan.http_options import DEFAULT_HTTP, HttpOptions, tls_context
from toolkit.settings import Price, Target

VENDOR_HOST = "api.sms.jpush.cn"
_TIMEOUT_S = 10.0
_MAX_BODY_BYTES = 16 * 1024


def check_allowed(
    base_url: str,
    allowed: Collection[str],
    pays: bool = False,
    is_capped: bool = False,
    find_doubt: Callable[[], str] = lambda: "",
) -> None:
    """Check that a target may be loaded: a sandbox on this machine always may.

    Args:
        base_url: The target.
        allowed: Names of other hosts that may be loaded, and of this one if its target is not a sandbox.
        pays: Whether the vendor's host may be loaded too, which bills each message.
        is_capped: Whether the number of messages has a maximum. All targets but sandboxes on this machine need one.
        find_doubt: Returns the reason why a target on this machine is not known to be a sandbox, "" if it is known to
            be one; see ``doubt_of``. It is called only if permission or maximum is missing. The default takes every
            target on this machine for a sandbox.

    Raises:
        InputError: The target may not be loaded. The message names the missing options.

    >>> check_allowed("http://127.0.0.1:8018", allowed=(), find_doubt=lambda: "")
    >>> check_allowed("http://127.0.0.1:8018", ["127.0.0.1"], is_capped=True, find_doubt=lambda: "HTTP 404")
    """
    host = urlsplit(base_url).hostname or ""
    is_allowed = host in {name.lower() for name in allowed}
    risk = f"{host} is not this machine"
    if is_this_machine(base_url):
        doubt = "" if is_allowed and is_capped else find_doubt()
        if not doubt:
            return
        risk = f"{host} is not known to be a sandbox ({doubt})"
    limit = "" if is_capped else ", and a limit, e.g. --max-messages 100"
    if not is_allowed:
        raise InputError(
            f"{risk}: each message may cost money and reach a stranger;"
            f" if it may be loaded, give --allow-target {host}{limit}"
        )
    if host.rstrip(".").lower() == VENDOR_HOST and not pays:
        raise InputError(f"{host} is the vendor's host, which bills each message: give --i-pay-for-this to load it")
    if not is_capped:
        raise InputError(f"{risk}: limit the messages with --max-messages or --max-cost")


def doubt_of(target: Target, http: HttpOptions = DEFAULT_HTTP) -> str:
    """Return the reason to doubt that a target is a sandbox, "" if its response confirms it.

    Only ``{"sandbox": true}`` counts: production has no such path, a sandbox with a provider returns false, and no
    response proves nothing. ``http`` has the further headers and the certificates.
    """
    from http.client import HTTPConnection, HTTPException, HTTPSConnection

    url = urlsplit(target.base_url)
    if url.scheme == "https":
        connection: HTTPConnection = HTTPSConnection(url.netloc, timeout=_TIMEOUT_S, context=tls_context(http))
    else:
        connection = HTTPConnection(url.netloc, timeout=_TIMEOUT_S)
    headers = {"Authorization": Credentials(target.app_key, target.master_secret).authorization, **dict(http.headers)}
    try:
        connection.request("GET", url.path + SANDBOX_STATE_PATH, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            return f"it answered HTTP {response.status} to GET {SANDBOX_STATE_PATH}"
        state = json.loads(response.read(_MAX_BODY_BYTES))
    except (OSError, HTTPException) as problem:
        return f"GET {SANDBOX_STATE_PATH} failed: {problem or type(problem).__name__}"
    except (ValueError, RecursionError):
        state = None
    finally:
        connection.close()
    is_sandbox = state.get("sandbox") if isinstance(state, dict) else None
    if is_sandbox is False:
        return "it delivers its messages"
    return "" if is_sandbox is True else f"its response to GET {SANDBOX_STATE_PATH} does not confirm it"


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
