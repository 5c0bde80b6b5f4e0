"""The examples run as they stand."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.programs import require

from toolkit import AsyncClient

EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = ["right and wrong code", "expired code", "out of frequency", "no money", "provider down"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(*command: str) -> str:
    """Run a command in the folder of the examples, with the ``smscode`` of this interpreter, and return its output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=EXAMPLES,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_those_in_python_pass() -> None:
    said = run(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider")
    for framework in ("fastapi", "flask"):
        for case in CASES:
            assert f"test_{framework}_sign_in.py::test_{case.replace(' ', '_')}" in said


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {}])
async def test_a_sign_in_asks_to_wait_for_as_long_as_the_api_says_if_it_does(headers: dict[str, str]) -> None:
    create_app = runpy.run_path(str(EXAMPLES / "fastapi_sign_in.py"))["create_app"]
    answer = httpx.Response(403, json={"error": {"code": 50009, "message": "out of freq"}}, headers=headers)
    api = httpx.MockTransport(lambda _: answer)
    async with AsyncClient("http://api", app_key="a", master_secret="b", transport=api) as client:
        transport = httpx.ASGITransport(create_app(client, temp_id=1))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
            limited = await browser.post("/codes", json={"mobile": "13800138000"})
    assert limited.status_code == 429
    assert limited.headers.get("Retry-After") == headers.get("Retry-After")


def test_that_in_javascript_passes() -> None:
    said = run(require("node", "nodejs"), "--test", ".")
    assert [case for case in CASES if case not in said] == []


def test_that_in_the_shell_passes() -> None:
    require("curl")
    assert run("./sign_in.sh").splitlines() == CASES


@pytest.mark.parametrize("file", sorted(EXAMPLES.iterdir()), ids=lambda file: file.name)
def test_each_is_short_enough_to_copy(file: Path) -> None:
    assert file.is_dir() or len(file.read_text(encoding="utf-8").splitlines()) <= 60
