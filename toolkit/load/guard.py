"""Guard: what may be loaded at all. A message to a real mobile costs money, and annoys whoever gets it."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from toolkit.errors import InputError


def check_allowed(base_url: str, allowed: Collection[str]) -> None:
    """Raise InputError for a target that is neither this machine nor one of the ``allowed`` hosts."""
    host = urlsplit(base_url).hostname or ""
    if not (_is_this_machine(host) or host in allowed):
        raise InputError(
            f"{host} isn't this machine: each message may cost money and reach a stranger;"
            f" if it may be loaded all the same, give --allow-target {host}"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
