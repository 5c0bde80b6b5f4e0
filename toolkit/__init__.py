"""Send SMS verification codes and verify the codes that people type.

>>> from toolkit import Client
>>> with Client("https://api.sms.jpush.cn", "app-key", "master-secret") as client:  # doctest: +SKIP
...     sent = client.send_code("13800138000", temp_id=1)
...     client.verify_code(sent.msg_id, "123456").is_valid
True

``import toolkit`` takes a few milliseconds: each name is imported from its module on first use, and only the clients
import httpx.
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
