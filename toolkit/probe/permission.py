"""Decide whether a target may be probed, with which mobiles and with how many messages."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import islice

from toolkit.api.errors import InputError
from toolkit.load_test.plan.mobile_pools import parse_pool
from toolkit.load_test.plan.target_guard import check_allowed, doubt_of, is_this_machine
from toolkit.settings import Target

SCOPES = ("both", "mobile")
SANDBOX_MESSAGES = 100
_SANDBOX_MOBILES = 20
_MAX_MOBILES = 10_000
_MAX_SPEED = 100_000.0


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """The permitted means of a probe; ``seeks_app`` as of ``Planner``."""

    mobiles: tuple[str, ...]
    max_messages: int
    seeks_app: bool


def permit(
    target: Target,
    *,
    mobiles: str | None,
    max_messages: int | None,
    speed: float = 1.0,
    scope: str = "both",
    allowed: Collection[str] = (),
    pays: bool = False,
    find_doubt: Callable[[Target], str] = doubt_of,
) -> ProbePlan:
    """Check the options of a probe. A sandbox on this machine needs no permission, cap or list of mobiles.

    Args:
        target: The API.
        mobiles: A pool of mobiles; for a target that is not a sandbox, ``file:PATH`` with mobiles that may be used.
        max_messages: The cap; required for a target that is not a sandbox.
        speed: How many times faster the target's clock runs.
        scope: ``both`` or ``mobile``.
        allowed: Hosts that may be probed although they are not a sandbox on this machine.
        pays: Whether the vendor's host may be probed.
        find_doubt: Returns why a target is not known to be a sandbox, "" if it is one.

    Raises:
        InputError: An option is invalid, or the target may not be probed. The message names the missing options.
    """
    if scope not in SCOPES:
        raise InputError(f"unknown scope {scope!r} (choose from {', '.join(SCOPES)})")
    if not 0 < speed <= _MAX_SPEED:
        raise InputError(f"invalid speed {speed:g}: expected a number above 0 and at most {_MAX_SPEED:,.0f}, e.g. 60")
    doubt = find_doubt(target) if is_this_machine(target.base_url) else "it is not this machine"
    if doubt:
        check_allowed(target.base_url, allowed, pays, max_messages is not None, lambda: doubt)
        if not (mobiles or "").startswith("file:"):
            raise InputError("no mobiles that may be used: list them in a file, one per line: --mobiles file:PATH")
        if speed != 1:
            raise InputError(f"invalid speed {speed:g}: only the clock of a sandbox runs faster; leave it out")
    pool = parse_pool(mobiles or "uniform")(0, 0, 1)
    chosen = tuple(dict.fromkeys(islice(pool, _MAX_MOBILES if doubt else _SANDBOX_MOBILES)))
    return ProbePlan(chosen, max_messages or SANDBOX_MESSAGES, scope == "both")
