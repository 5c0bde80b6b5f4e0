"""Clients for the API: ``Client`` for blocking code, ``AsyncClient`` for asyncio.

>>> from toolkit.client import Client
>>> with Client("https://api.sms.jpush.cn", "app-key", "master-secret") as client:  # doctest: +SKIP
...     sent = client.send_code("13800138000", temp_id=1)
...     client.verify_code(sent.msg_id, "123456").is_valid
True
"""

from toolkit.client.aio import AsyncClient
from toolkit.client.core import Sent, Timeout, Verification
from toolkit.client.sync import Client

__all__ = ["AsyncClient", "Client", "Sent", "Timeout", "Verification"]
