"""Options that a scenario makes no use of are refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.api.errors import InputError
from toolkit.load_test.launch.scenarios import check_options, scenarios
from toolkit.load_test.plan.options import LoadOptions

LIMIT = LoadOptions(users=1, limits=("ok_ratio(send) >= 99%",))
RECORDING = LoadOptions(users=1, recording=Path("runs/friday"))


@pytest.mark.parametrize(
    ("options", "reader", "flag"), [(LIMIT, "throughput", "--limit"), (RECORDING, "replay", "--recording")]
)
def test_an_option_is_accepted_by_the_one_scenario_that_reads_it(
    options: LoadOptions, reader: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_options(reader, options)
    for other in scenarios().keys() - {reader}:
        with pytest.raises(InputError, match=f"{flag} has no effect on the scenario {other}: .* the scenario {reader}"):
            check_options(other, options)


def test_a_locustfile_that_imports_other_modules_is_left_to_the_load_test(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from mine_too import Person\n")
    check_options(str(mine), LIMIT)
    mine.write_text("from toolkit.load_test.generator.user import SmsCodeUser\n")
    with pytest.raises(InputError, match="--limit has no effect"):
        check_options(str(mine), LIMIT)


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(InputError, match="unknown scenario 'no-such'"):
        check_options("no-such", LIMIT)
