import pytest
from flask_sign_in import create_app
from jsms import Jsms

MOBILE = "13800138000"


@pytest.fixture
def post(sms_sandbox):
    client = Jsms(*sms_sandbox.credentials)
    client.BASE_URL = f"{sms_sandbox.url}/v1/"
    with client.session:
        browser = create_app(client, temp_id=1).test_client()
        yield lambda path, code="": browser.post(path, data={"mobile": MOBILE, "code": code}).status_code


def test_right_and_wrong_code(post, sms_sandbox):
    sms_sandbox.set_code(MOBILE, "123456")
    assert post("/codes") == 200
    assert [post("/sign-in", code) for code in ("654321", "123456", "123456")] == [403, 200, 403]


def test_expired_code(post, sms_sandbox):
    post("/codes")
    sms_sandbox.advance(301)
    assert post("/sign-in", sms_sandbox.wait_for_code(MOBILE)) == 403


def test_out_of_frequency(post, sms_sandbox):
    assert [post("/codes") for _ in range(2)] == [200, 429]
    sms_sandbox.advance(60)
    assert post("/codes") == 200


def test_no_money(post, sms_sandbox):
    sms_sandbox.refuse(MOBILE, 50014, times=1)
    assert [post("/codes") for _ in range(2)] == [503, 200]


@pytest.mark.parametrize("faults", [{"share": 1}, {"share": 0, "drop_share": 1}])
def test_provider_down(post, sms_sandbox, faults):
    sms_sandbox.fail(**faults)
    assert (post("/codes"), post("/sign-in", "123456")) == (503, 503)
