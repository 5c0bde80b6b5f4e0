"""Run a sandbox of the API inside the process of a test.

>>> from toolkit.testing import sandbox
>>> with sandbox() as sms, sms.client() as client:
...     sent = client.send_code("13800138000", temp_id=sms.temp_id)
...     code = sms.wait_for_code("13800138000")
...     client.verify_code(sent, code).is_valid
True

The pytest plugin ``toolkit.pytest_plugin`` provides the same as fixtures.
"""

from toolkit.testing.sandboxes import AsyncSandbox, Sandbox, async_sandbox, sandbox
from toolkit.testing.thread import Credentials, Message

__all__ = ["AsyncSandbox", "Credentials", "Message", "Sandbox", "async_sandbox", "sandbox"]
