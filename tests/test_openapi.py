"""The OpenAPI description agrees with the code, and the service with the description."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
import yaml
from support.service import Running

from toolkit.api import wire
from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint, Refusal
from toolkit.service.http.connection import KEEP_ALIVE_S, REQUEST_S
from toolkit.service.http.request_parser import MAX_HEAD_BYTES

FILE = Path(__file__).parent.parent / "docs" / "openapi.yaml"
SPEC: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
RESPONSES: dict[str, Any] = SPEC["components"]["responses"]
REFUSALS = [row for row in ReturnCode if row.kind is not Kind.OK]
# By path and operationId; beside its operations a path holds their common parameters.
OPERATIONS: dict[tuple[str, str], Any] = {
    (path, it["operationId"]): it for path, verbs in SPEC["paths"].items() for it in verbs.values() if "responses" in it
}


def statuses(response: dict[str, Any]) -> set[int]:
    """Return the HTTP statuses under which the operations give a shared response."""
    name = next(name for name, each in RESPONSES.items() if each is response)
    ref = {"$ref": f"#/components/responses/{name}"}
    return {int(status) for verb in OPERATIONS.values() for status, given in verb["responses"].items() if given == ref}


def response_of(row: ReturnCode) -> dict[str, Any]:
    return next(it for it in RESPONSES.values() if str(int(row)) in it["content"]["application/json"]["examples"])


def test_it_is_valid_openapi() -> None:
    openapi_spec_validator.validate(SPEC)


@pytest.mark.parametrize("row", REFUSALS)
def test_every_refusal_stands_under_its_status_as_it_is_sent(row: ReturnCode) -> None:
    response, reply = response_of(row), wire.refusal_response(Refusal(row))
    content = response["content"]["application/json"]
    assert statuses(response) == {row.http_status}
    assert content["examples"][str(int(row))] == {"summary": row.meaning, "value": json.loads(reply.body)}
    codes = content["schema"]["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
    assert codes == [it for it in REFUSALS if it.http_status == row.http_status]
    assert codes == [int(number) for number in content["examples"]]
    own = {name.decode() for name, _ in reply.headers} - {"content-type", "content-length"}
    assert own == {name.lower() for name, it in response["headers"].items() if it.get("required")}


def test_its_paths_are_those_of_the_protocol() -> None:
    paths = {name: path for path, name in OPERATIONS}
    assert wire.read_path(paths["send"].encode()) == (Endpoint.SEND, "")
    assert wire.read_path(paths["verify"].replace("{msg_id}", "x").encode()) == (Endpoint.VERIFY, "x")
    assert wire.message_path("x") == paths["peek"].replace("{msg_id}", "x")
    assert paths["state"] == wire.SANDBOX_STATE_PATH
    assert set(paths) == {*Endpoint, "peek", "state", "empty", "messages", "put_number", "lift_number"} | {
        "advance",
        "faults",
        "page",
    }


def test_its_bounds_are_those_of_the_code() -> None:
    text = " ".join(SPEC["info"]["description"].split())
    assert f"{MAX_HEAD_BYTES // 1024} KiB of request line and headers" in text
    assert f"{wire.MAX_BODY_BYTES // 1024} KiB of body" in text
    assert f"has {REQUEST_S} seconds to arrive" in text
    assert f"closed after {KEEP_ALIVE_S}" in text


# By the paths that are left out, and those that are tested: faults would fail the other calls, as they should.
FAULTS = ("--include-path", "/sandbox/faults", "--phases", "examples,coverage,fuzzing")
OTHERS = ("--exclude-path", "/sandbox/faults")
CONFIG = "[parameters]\nwait_s = 0\n"  # a call that waits for a message that nobody sends would take a minute


@pytest.mark.parametrize("paths", [OTHERS, FAULTS], ids=["all but faults", "faults"])
def test_the_service_answers_whatever_can_be_made_of_it_as_it_says(
    start: Callable[..., Running], paths: tuple[str, ...], tmp_path: Path
) -> None:
    sandbox = start()
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    # Two checks want 401 for a call without credentials; the API's document says 400.
    excluded = "ignored_auth,missing_required_header"
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(FILE), "--url", sandbox.url]
    command += ["--auth", f"{sandbox.app_key}:{sandbox.master_secret}", "--exclude-checks", excluded]
    command += ["--seed", "1", "--generation-database", "none", "--no-color", *paths]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
