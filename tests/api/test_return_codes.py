from toolkit.api.return_codes import Kind, ReturnCode, find, kind_of

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


def test_a_number_that_the_table_lacks_has_no_row_and_no_kind() -> None:
    assert (find(50020), kind_of(50020)) == (None, None)


def test_every_kind_has_a_row() -> None:
    assert {code.kind for code in ReturnCode} == set(Kind)
