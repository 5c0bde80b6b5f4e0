from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import CALLS, MOBILE, RECORDS, SECRET, SENT

from toolkit.api.return_codes import Kind, ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import Failure, RecordBuilder, is_failed, mobile_key


def test_an_answer_is_recorded_with_its_row() -> None:
    call = CALLS[0]
    assert (call.http_status, call.return_code, call.kind, call.error) == (200, 50000, Kind.OK, None)
    assert (call.run, call.source, call.app_key, call.endpoint) == ("r1", "worker-0", "key", Endpoint.SEND)
    assert (call.started_ns, call.latency_ns, call.wait_ns, call.temp_id, call.msg_id) == (1_000, 20, 5, 1, "m-1")


def test_a_call_without_an_answer_is_recorded_with_its_error() -> None:
    timeout, protocol = CALLS[2:4]
    assert (timeout.http_status, timeout.return_code, timeout.kind, timeout.error) == (None, None, None, "timeout")
    assert (protocol.http_status, protocol.return_code, protocol.kind, protocol.error) == (502, None, None, "protocol")


def test_an_unknown_return_code_is_recorded_without_a_kind() -> None:
    assert (CALLS[4].return_code, CALLS[4].kind) == (59101, None)


def test_a_verify_joins_its_send() -> None:
    assert CALLS[0].msg_key == CALLS[1].msg_key
    assert CALLS[0].msg_key is not None


@pytest.mark.parametrize(("temp_id", "recorded"), [(7, 7), ("7", 7), ("x", None), (None, None), (10**18, None)])
def test_a_temp_id_is_recorded_if_it_is_a_number(temp_id: int | str | None, recorded: int | None) -> None:
    assert RECORDS.build(Endpoint.SEND, 0, 0, mobile=MOBILE, temp_id=temp_id).temp_id == recorded


# Whether a call failed.


@pytest.mark.parametrize("failure", Failure)
def test_a_call_without_a_response_failed_unless_its_caller_stopped_waiting(failure: Failure) -> None:
    assert is_failed(None, None, failure, expected={failure}) == (failure is not Failure.CANCELLED)


@pytest.mark.parametrize("code", ReturnCode)
def test_a_success_or_a_verdict_never_failed_and_any_other_kind_did(code: ReturnCode) -> None:
    assert is_failed(code, code.kind, None) == (code.kind not in (Kind.OK, Kind.VERDICT))


@pytest.mark.parametrize("expected", [[Kind.RATE], ["RATE", 7], [50009], {ReturnCode.OUT_OF_FREQ}])
def test_a_kind_or_code_that_the_scenario_expects_did_not_fail(expected: list[int | str]) -> None:
    assert not is_failed(50009, Kind.RATE, None, expected)
    assert is_failed(50014, Kind.ACCOUNT, None, expected)


def test_the_servers_failure_counts_even_if_a_scenario_expects_its_code() -> None:
    assert is_failed(50019, Kind.SERVER, None, {50019, Kind.SERVER})


def test_an_unknown_code_failed_unless_the_scenario_expects_that_number() -> None:
    assert is_failed(59101, None, None, {Kind.RATE, Kind.REQUEST, Kind.ACCOUNT, Kind.VERDICT})
    assert not is_failed(59101, None, None, {59101})


# What a record hides.


def test_a_mobile_has_one_key_however_it_is_written() -> None:
    written = [MOBILE, int(MOBILE), "+86" + MOBILE, "86" + MOBILE]
    calls = [RECORDS.build(Endpoint.SEND, 0, 0, mobile=mobile) for mobile in written]
    assert {(call.mobile_key, call.prefix) for call in calls} == {(CALLS[0].mobile_key, MOBILE[:7])}


def test_a_mobile_has_another_key_in_another_app_and_the_same_in_another_run() -> None:
    def key(secret: str, run: str) -> int | None:
        return RecordBuilder.of(run, "s", "key", secret).build(Endpoint.SEND, 0, 0, mobile=MOBILE).mobile_key

    assert key(SECRET, "r2") == CALLS[0].mobile_key
    assert key("another", "r1") != CALLS[0].mobile_key


def test_an_invalid_mobile_has_a_key_and_no_prefix() -> None:
    assert CALLS[2].mobile_key is not None
    assert CALLS[2].prefix is None


@given(mobile=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True))
def test_no_whole_mobile_is_in_a_record(mobile: str) -> None:
    call = RECORDS.build(Endpoint.SEND, 0, 0, response=SENT, mobile=mobile, temp_id=1)
    others = replace(call, mobile_key=0)  # 64 bits, drawn at random: they could spell anything
    assert mobile not in repr(others)
    assert mobile[7:] not in [str(getattr(call, column.name)) for column in fields(call)]


def test_a_mobiles_key_is_found_by_those_who_have_the_apps_secret() -> None:
    call = RecordBuilder.of("r", "s", "app", "secret").build(Endpoint.SEND, 1, 1, mobile="13800138000")
    assert mobile_key("13800138000", "secret") == call.mobile_key != mobile_key("13800138000", "other")
