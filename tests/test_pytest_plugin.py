"""The plugin in suites of others: with xdist, pytest-asyncio and anyio, and with each warning an error."""

from __future__ import annotations

from importlib import metadata

import pytest

pytest_plugins = ["pytester"]

INI = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""
FIXTURES = """
import asyncio
import anyio, pytest
from toolkit import ReturnCode, ReturnCodeError

MOBILE = "13800138000"

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.parametrize("n", range(3))
def test_each_test_gets_an_empty_sandbox(sms_sandbox, sms_client, n):
    assert sms_sandbox.messages() == []
    sent = sms_client.send_code(MOBILE, sms_sandbox.temp_id)
    assert sms_client.verify_code(sent, sms_sandbox.wait_for_code(MOBILE))
    with pytest.raises(ReturnCodeError):
        sms_client.send_code(MOBILE, sms_sandbox.temp_id)

async def sign_in(client, sms):
    waiting = asyncio.create_task(sms.wait_for_code(MOBILE, timeout_s=240))
    sent = await client.send_code(MOBILE, sms.temp_id)
    assert await client.verify_code(sent, await waiting)
    await sms.fail(drop_share=1)
    with pytest.raises(Exception):
        await client.send_code(MOBILE, sms.temp_id)

@pytest.mark.parametrize("n", range(2))
@pytest.mark.MARK
async def test_async(sms_async_client, sms_async_sandbox, n):
    await sign_in(sms_async_client, sms_async_sandbox)

@pytest.mark.anyio
async def test_anyio(sms_async_client, sms_async_sandbox):
    await sign_in(sms_async_client, sms_async_sandbox)

def test_plain(sms_async_client, sms_sandbox):
    asyncio.run(sign_in(sms_async_client, sms_sandbox.to_async()))
"""


def test_it_is_registered() -> None:
    (found,) = (it for it in metadata.entry_points(group="pytest11") if it.name == "sms_sandbox")
    assert found.value == "toolkit.pytest_plugin"


@pytest.mark.parametrize("option", ["-n2", "-pno:xdist"])
def test_its_fixtures_work_with_other_plugins(pytester: pytest.Pytester, option: str) -> None:
    pytester.makeini(INI)
    pytester.makepyfile(FIXTURES.replace("MARK", "asyncio"))
    pytester.runpytest_subprocess(option, timeout=240).assert_outcomes(passed=7)


def test_its_fixtures_work_in_the_auto_mode_of_pytest_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI + "asyncio_mode = auto")
    pytester.makepyfile(FIXTURES.replace("@pytest.mark.MARK\n", "").replace("@pytest.mark.anyio\n", ""))
    pytester.runpytest_subprocess(timeout=240).assert_outcomes(passed=7)


def test_its_options_are_in_the_configuration_file(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI + "sms_sandbox_rules =\n  2/60s\n  3/3600s\nsms_sandbox_ttl_s = 1000\n")
    pytester.makepyfile("""
        import pytest
        from toolkit import ReturnCodeError

        def test_rules_and_lifetime(sms_sandbox, sms_client):
            sent = [sms_client.send_code("13800138000", 1) for _ in range(2)][-1]
            with pytest.raises(ReturnCodeError):
                sms_client.send_code("13800138000", 1)
            sms_sandbox.advance(999)
            assert sms_client.verify_code(sent, sms_sandbox.wait_for_code("13800138000"))
    """)
    pytester.runpytest_subprocess(timeout=240).assert_outcomes(passed=1)


def test_an_invalid_option_is_named(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI + "sms_sandbox_ttl_s = 5m")
    pytester.makepyfile("def test(sms_sandbox): pass")
    run = pytester.runpytest_subprocess(timeout=240)
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(["*invalid sms_sandbox_ttl_s '5m': expected seconds, e.g. 300*"])


def test_without_its_extra_the_error_names_it(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makeconftest("import sys\nsys.modules['uvicorn'] = None")
    pytester.makepyfile("def test(sms_sandbox): pass")
    run = pytester.runpytest_subprocess(timeout=240)
    run.stdout.fnmatch_lines(
        ["*sms_sandbox needs the testing extra: pip install 'sms-code-toolkit?testing?' (*uvicorn*"]
    )


def test_a_suite_that_does_not_use_it_loads_nothing_more(pytester: pytest.Pytester) -> None:
    pytester.makeini(INI)
    pytester.makepyfile("""
        import sys

        def test_modules(pytestconfig):
            assert pytestconfig.pluginmanager.get_plugin("sms_sandbox")
            assert {it for it in sys.modules if it.startswith("toolkit")} == {"toolkit", "toolkit.pytest_plugin"}
    """)
    pytester.runpytest_subprocess(timeout=240).assert_outcomes(passed=1)
