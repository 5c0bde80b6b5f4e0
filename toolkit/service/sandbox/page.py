"""Serve the page that shows a sandbox's inbox. It is one file, and loads nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from toolkit.api.wire import ServerResponse

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def page_response() -> ServerResponse:
    """Return the page. It holds no secret, so it is served without credentials; its script requests them.

    The policy allows its own script and style only, so that the text of a message could run nothing.
    """
    text = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    sources = {kind: _digest(content) for kind, content in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; connect-src 'self';"
        " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    body = text.encode()
    headers = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )
    return ServerResponse(200, headers, body)


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
