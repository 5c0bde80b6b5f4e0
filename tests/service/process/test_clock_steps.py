"""A running service keeps its windows and lifetimes when the machine's time of day is stepped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.programs import require
from support.service import running


@pytest.mark.parametrize("step", ["-1d", "+1d"])
def test_a_step_of_the_time_of_day_changes_no_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    require("faketime")
    [library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    shift, log = tmp_path / "shift", tmp_path / "log"
    shift.write_text("+0")
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(shift))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with log.open("wb") as stderr, running("--rule", "1/3600s", stderr=stderr) as service:
        msg_id = service.send("13800138000")
        shift.write_text(step)
        refused = service.post("/v1/codes", {"mobile": "13800138000", "temp_id": service.temp_id})
        assert refused.code == 50009
        assert 3000 < int(refused.headers["retry-after"]) <= 3600
        assert service.verify(msg_id, service.peek(msg_id)).code == 50000
        while b"the machine's time of day is 86400 s" not in log.read_bytes():
            time.sleep(0.1)
