import copy
import pickle
from collections.abc import Callable

import pytest

from toolkit.api import errors
from toolkit.api.errors import (
    CallError,
    NotConnectedError,
    ProtocolError,
    ReturnCodeError,
    ToolkitError,
    TransportError,
)
from toolkit.api.return_codes import Kind, ReturnCode

ERRORS = [
    NotConnectedError("nothing was sent"),
    TransportError("no response"),
    ProtocolError("not JSON", 503, b"<html>", 30),
    ReturnCodeError(50009, 403, "beyond the limit", 60, "id-7"),
    ReturnCodeError(50105, 400, "unknown"),
]
CLASSES = [it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, Exception)]


def test_all_exceptions_have_one_base_class() -> None:
    assert [each for each in CLASSES if not issubclass(each, ToolkitError)] == []


def test_the_outline_at_the_head_is_the_tree() -> None:
    lines = [line for line in (errors.__doc__ or "").splitlines() if line.lstrip().startswith("- ")]
    outline = {line.split()[1]: len(line) - len(line.lstrip()) for line in lines}
    depths = {each.__name__: sum(issubclass(base, ToolkitError) for base in each.__mro__) for each in CLASSES}
    assert outline == {name: 2 * (depth - 1) for name, depth in depths.items()}


def test_a_refusal_has_the_attributes_of_its_return_code() -> None:
    error = ReturnCodeError(50009, 403, "out of freq", 42)
    assert error.return_code is ReturnCode.OUT_OF_FREQ
    assert (error.http_status, error.message, error.retry_after_s, error.kind) == (403, "out of freq", 42, Kind.RATE)
    assert str(error) == "50009 out of freq (HTTP 403)"


def test_a_refusal_keeps_an_unknown_return_code() -> None:
    error = ReturnCodeError(59101, 403, "blocked")
    assert (error.return_code, error.retry_after_s, error.kind) == (59101, None, None)


def test_a_protocol_error_keeps_the_first_100_bytes() -> None:
    error = ProtocolError("the body is not a JSON object", 502, b"x" * 101)
    assert (error.http_status, error.body) == (502, b"x" * 100)
    assert "502" in str(error)


@pytest.mark.parametrize("each", CLASSES)
def test_every_class_has_a_docstring(each: type) -> None:
    assert each.__doc__


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_is_the_same_after_a_copy(error: CallError, again: Callable[[CallError], CallError]) -> None:
    other = again(error)
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
