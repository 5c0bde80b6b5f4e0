"""Speak the SMS verification-code API: send a code to a mobile, verify the code the person typed.

``import toolkit`` costs a few milliseconds: a name is loaded from its module when it is first asked for, and only the
clients load httpx.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.api.errors import (
        CallError,
        InputError,
        NotConnectedError,
        ProtocolError,
        ReturnCodeError,
        SettingsError,
        ToolkitError,
        TransportError,
    )
    from toolkit.api.return_codes import Kind, ReturnCode
    from toolkit.client import AsyncClient, Client, Sent, Timeout, Verification
    from toolkit.records.call_record import CallRecord

__all__ = [
    "AsyncClient",
    "CallError",
    "CallRecord",
    "Client",
    "InputError",
    "Kind",
    "NotConnectedError",
    "ProtocolError",
    "ReturnCode",
    "ReturnCodeError",
    "Sent",
    "SettingsError",
    "Timeout",
    "ToolkitError",
    "TransportError",
    "Verification",
]

_HOMES = {
    "client": ("AsyncClient", "Client", "Sent", "Timeout", "Verification"),
    "api.return_codes": ("Kind", "ReturnCode"),
    "api.errors": tuple(name for name in __all__ if name.endswith("Error")),
    "records.call_record": ("CallRecord",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"toolkit.{home}"), name)
    raise AttributeError(f"module 'toolkit' has no attribute {name!r}")
