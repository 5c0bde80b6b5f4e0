"""Parse further headers of a request, such as those of a gateway. A caller can't replace those that the API needs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from toolkit.api.errors import InputError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_OWN = frozenset(
    "accept accept-encoding authorization connection content-length content-type expect host te trailer"  # noqa: SIM905
    " transfer-encoding upgrade".split()
)


def parse_header(text: str) -> tuple[str, str]:
    """Return the name and the value of a header; raise InputError, without the value, if it can't be used.

    >>> parse_header("X-Environment: staging")
    ('X-Environment', 'staging')
    """
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise InputError(f"invalid header {name[:40]!r}: expected NAME: VALUE in ASCII, e.g. 'X-Environment: staging'")
    if name.lower() in _OWN:
        raise InputError(f"the header {name} belongs to the request itself and can't be replaced: leave it out")
    return name, value


def add_headers(own: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return headers with further ones, which replace those of the same name in other letters.

    >>> add_headers({"User-Agent": "sms-code-toolkit"}, {"user-agent": "checkout-tests"})
    {'user-agent': 'checkout-tests'}
    """
    names = {name.lower() for name in more}
    return {name: value for name, value in own.items() if name.lower() not in names} | dict(more)
