import httpx
import pytest
from fastapi_sign_in import create_app

MOBILE = "13800138000"


@pytest.fixture
async def post(sms_async_client):
    transport = httpx.ASGITransport(create_app(sms_async_client, temp_id=1))
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:

        async def post(path, code="", mobile=MOBILE):
            return (await browser.post(path, json={"mobile": mobile, "code": code})).status_code

        yield post


async def test_right_and_wrong_code(post, sms_async_sandbox):
    assert await post("/codes") == 200
    code = await sms_async_sandbox.wait_for_code(MOBILE)
    assert await post("/sign-in", "000000" if code != "000000" else "111111") == 403
    assert await post("/sign-in", code) == 200


async def test_expired_code(post, sms_async_sandbox):
    await post("/codes")
    await sms_async_sandbox.advance(301)
    assert await post("/sign-in", await sms_async_sandbox.wait_for_code(MOBILE)) == 403


async def test_out_of_frequency(post, sms_async_sandbox):
    assert [await post("/codes") for _ in range(2)] == [200, 429]
    await sms_async_sandbox.advance(60)
    assert await post("/codes") == 200


@pytest.mark.parametrize(("mobile", "code"), [("110", "123456"), (MOBILE, "")])
async def test_invalid_fields(post, mobile, code):
    assert await post("/sign-in", code, mobile) == 422


async def test_no_money(post, sms_async_sandbox):
    await sms_async_sandbox.refuse(MOBILE, 50014, times=1)
    assert [await post("/codes") for _ in range(2)] == [503, 200]


@pytest.mark.parametrize("faults", [{"share": 1}, {"share": 0, "drop_share": 1}])
async def test_provider_down(post, sms_async_sandbox, faults):
    await sms_async_sandbox.fail(**faults)
    assert await post("/codes") == 503
    assert await post("/sign-in", "123456") == 503
