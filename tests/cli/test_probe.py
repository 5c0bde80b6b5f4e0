"""`smscode probe`: a probe that proves little is no success."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.api import serving
from support.redis import free_port
from support.service import smscode

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint

ACCOUNT = {"SMSCODE_APP_KEY": "key", "SMSCODE_MASTER_SECRET": "secret", "SMSCODE_TEMP_ID": "1"}
OPTIONS = ("--max-messages", "2", "--max-duration", "60s", "--scope", "mobile")


@pytest.mark.parametrize(
    ("return_code", "exit_code", "reason"),
    [
        (ReturnCode.SERVER_ERROR, 99, "no send was accepted"),
        (ReturnCode.OUT_OF_FREQ, 99, "no send was accepted: no mobile is left"),
        (ReturnCode.NO_MONEY, 1, "the API refused a send for another reason: 50014 no money"),
        (None, 0, ""),
    ],
)
def test_the_exit_code_says_whether_the_target_was_probed(
    return_code: ReturnCode | None, exit_code: int, reason: str
) -> None:
    with serving() as api:
        if return_code:
            api.refuse = {Endpoint.SEND: (0, return_code)}
        done = smscode("probe", *OPTIONS, env=ACCOUNT | {"SMSCODE_BASE_URL": api.target.base_url})
    assert done.returncode == exit_code, done.stderr
    assert reason in done.stderr


def test_a_target_that_cannot_be_reached_was_not_probed(tmp_path: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    mobiles = tmp_path / "mine.txt"
    mobiles.write_text("13800138000\n")
    allowed = ("--mobiles", f"file:{mobiles}", "--allow-target", "127.0.0.1")
    done = smscode("probe", *OPTIONS, *allowed, env=ACCOUNT | {"SMSCODE_BASE_URL": f"http://{host}"})
    assert done.returncode == 3, done.stderr
    assert "nothing was sent" in done.stderr
