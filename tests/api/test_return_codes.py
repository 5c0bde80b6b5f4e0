import pytest

from toolkit.api.return_codes import LATER_CODES, Kind, ReturnCode, find, find_published, kind_of

# The contract's table, as it stands there.
TABLE = """
| 200 | 50000 | success | 请求成功 | OK |
| 400 | 50001 | missing auth | auth为空 | ACCOUNT |
| 401 | 50002 | auth failed | auth鉴权失败 | ACCOUNT |
| 400 | 50003 | missing body | body为空 | REQUEST |
| 400 | 50004 | missing mobile | mobile为空 | REQUEST |
| 400 | 50005 | missing temp_id | temp_id为空 | REQUEST |
| 403 | 50006 | invalid mobile | mobile无效 | REQUEST |
| 403 | 50007 | invalid body | body无效 | REQUEST |
| 403 | 50008 | no sms code auth | 没有短信验证权限 | ACCOUNT |
| 403 | 50009 | out of freq | 发送超频 | RATE |
| 403 | 50010 | invalid code | 验证码无效 | VERDICT |
| 403 | 50011 | expired code | 验证码过期 | VERDICT |
| 403 | 50012 | verified code | 验证码已验证过 | VERDICT |
| 403 | 50013 | invalid temp_id | 无效temp_id | REQUEST |
| 403 | 50014 | no money | 余额不足 | ACCOUNT |
| 400 | 50015 | missing code | 验证码为空 | REQUEST |
| 404 | 50016 | api not found | api不存在 | REQUEST |
| 415 | 50017 | media not supported | 媒体类型不支持 | REQUEST |
| 405 | 50018 | request method not support | 请求方法不支持 | REQUEST |
| 500 | 50019 | server error | 服务端异常 | SERVER |
"""


def test_the_table_is_the_contracts() -> None:
    rows = [f"| {c.http_status} | {int(c)} | {c.message} | {c.meaning} | {c.kind} |" for c in ReturnCode]
    assert rows == TABLE.strip().splitlines()


def test_every_row_is_found_by_its_number() -> None:
    assert [find(number) for number in range(50000, 50020)] == list(ReturnCode)
    assert [kind_of(code) for code in ReturnCode] == [code.kind for code in ReturnCode]


def test_an_unknown_number_has_no_row_and_no_kind() -> None:
    assert (find(50048), find_published(50048), kind_of(50048)) == (None, None, None)


def test_the_later_codes_are_those_that_the_vendor_published() -> None:
    missing = {50032, *range(50048, 50052), *range(50055, 50101)}
    assert list(LATER_CODES) == [number for number in range(50020, 50106) if number not in missing]
    assert [find_published(number) for number in LATER_CODES] == list(LATER_CODES.values())
    assert not any(map(find, LATER_CODES))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (50021, Kind.REQUEST),
        (50024, None),
        (50026, Kind.REQUEST),
        (50033, Kind.ACCOUNT),
        (50034, Kind.RATE),
        (50036, Kind.ACCOUNT),
        (50105, Kind.REQUEST),
    ],
)
def test_a_later_code_has_a_kind_if_its_wording_tells_who_can_act(code: int, kind: Kind | None) -> None:
    assert kind_of(code) == kind


@pytest.mark.parametrize("code", [50009, 50010, 50036, 59999])
def test_an_http_status_of_5xx_is_the_servers_failure_whatever_the_code(code: int) -> None:
    assert kind_of(code, 500) is kind_of(code, 503) is kind_of(code, 599, is_valid=False) is Kind.SERVER


@pytest.mark.parametrize("code", [50009, 50010, 50026, 59999])
def test_is_valid_false_is_a_verdict_whatever_the_code(code: int) -> None:
    assert kind_of(code, 403, is_valid=False) is Kind.VERDICT


def test_every_kind_has_a_row() -> None:
    assert {code.kind for code in ReturnCode} == set(Kind)
