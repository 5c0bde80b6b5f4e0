from __future__ import annotations

import pytest

from toolkit.runs.exit_codes import ExitCode, worst


def test_the_list_is_in_the_order_of_the_documentation() -> None:
    assert list(map(int, ExitCode)) == [70, 2, 3, 1, 99, 98, 97, 130, 143, 0]


@pytest.mark.parametrize("code", ExitCode)
def test_the_first_code_of_the_list_wins(code: ExitCode) -> None:
    later = list(ExitCode)[list(ExitCode).index(code) :]
    assert worst([*reversed(later), None]) is code


def test_without_a_reason_the_code_is_0() -> None:
    assert worst([]) is worst([None, 0]) is ExitCode.DONE
