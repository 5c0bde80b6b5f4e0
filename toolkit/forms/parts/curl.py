"""Curl: the line that makes the same call in a shell. It holds no secret, no code and no whole mobile."""

from __future__ import annotations

import json
import shlex

from toolkit.api.wire import CODES_PATH, JSON_TYPE, verify_path
from toolkit.masking import MASK, mask_text
from toolkit.settings import Target

_SECRET = '"$SMSCODE_MASTER_SECRET"'


def send_line(target: Target, mobile: str, temp_id: int) -> str:
    """Return the line that sends a code; the mobile's last digits are to be filled in."""
    return _line(target, CODES_PATH, {"mobile": mask_text(mobile), "temp_id": temp_id})


def verify_line(target: Target, msg_id: str) -> str:
    """Return the line that verifies a code, which is to be filled in."""
    return _line(target, verify_path(msg_id), {"code": MASK})


def _line(target: Target, path: str, body: dict[str, object]) -> str:
    user = f"{shlex.quote(target.app_key)}:{_SECRET}"
    said = shlex.quote(f"Content-Type: {JSON_TYPE}")
    return f"curl -u {user} -H {said} -d {shlex.quote(json.dumps(body))} {shlex.quote(target.base_url + path)}"
