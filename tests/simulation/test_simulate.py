"""The files of a simulation: reproducible, atomic, and of one plan only."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.simulated import Simulated

from toolkit.api.errors import InputError
from toolkit.api.return_codes import ReturnCode
from toolkit.records import parquet
from toolkit.records.call_record import CallRecord
from toolkit.runs.run_folder import read_settings
from toolkit.simulation import IncidentKind, SimulationPlan, SimulationProgress, simulate

SMALL = SimulationPlan(days=5, calls=20_000, seed=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    simulate(folder, SMALL)
    return folder


def stop_after(days: int, by: type[BaseException] = KeyboardInterrupt):
    def stop(written: SimulationProgress) -> None:
        if written.days == days:
            raise by

    return stop


def test_the_same_plan_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    simulate(tmp_path, SMALL)
    assert contents(tmp_path) == contents(whole)


def test_another_seed_gives_other_calls(whole: Path, tmp_path: Path) -> None:
    simulate(tmp_path, replace(SMALL, seed=4))
    name = f"calls-{SMALL.start}.parquet"
    assert not pq.read_table(tmp_path / name)["msg_key"].equals(pq.read_table(whole / name)["msg_key"])


def test_each_day_is_a_file_of_records_in_the_order_of_time(simulated: Simulated) -> None:
    parts = sorted(simulated.folder.glob(parquet.PARQUET_PARTS))
    assert [path.name for path in parts] == [
        f"calls-{simulated.plan.day(it)}.parquet" for it in range(simulated.plan.days)
    ]
    for path in parts:
        table = pq.read_table(path)
        assert table.schema.equals(parquet.schema())
        times = table["started_ns"].to_numpy()
        assert (times[1:] >= times[:-1]).all()
        days = {str(it.date()) for it in pa.array(times[[0, -1]], pa.timestamp("ns")).to_pandas()}
        assert days == {path.stem.removeprefix("calls-")}


def test_the_files_have_the_encodings_of_records(simulated: Simulated, tmp_path: Path) -> None:
    ours = next(simulated.folder.glob(parquet.PARQUET_PARTS))
    rows = (CallRecord(**row) for row in pq.read_table(ours).slice(0, 3_000).to_pylist())
    parquet.write_parquet(rows, tmp_path / "calls.parquet")

    def described(path: Path) -> list[tuple[str, str, tuple[str, ...]]]:
        group = pq.read_metadata(path).row_group(0)
        columns = (group.column(it) for it in range(group.num_columns))
        return [(it.path_in_schema, it.compression, tuple(sorted(it.encodings))) for it in columns]

    assert described(ours) == described(tmp_path / "calls.parquet")


def test_a_report_reads_the_plan_from_run_json(whole: Path) -> None:
    settings = read_settings(whole)
    assert settings["scenario"] == "simulate"
    assert {name: settings[name] for name in SMALL.settings()} == SMALL.settings()


def test_on_day_is_called_when_a_day_is_complete(tmp_path: Path) -> None:
    told: list[SimulationProgress] = []

    def check(written: SimulationProgress) -> None:
        told.append(written)
        labels = json.loads((tmp_path / "incidents.json").read_text())
        assert (labels["days_done"], labels["calls"]) == (written.days, written.calls)
        assert pq.read_metadata(written.path).num_rows == written.calls - sum(it.calls for it in told[-2:-1])

    last = simulate(tmp_path, SMALL, on_day=check)
    assert [it.day for it in told] == [SMALL.day(it) for it in range(5)]
    assert told[-1] == last


@pytest.mark.parametrize("days", [1, 3])
def test_an_interruption_leaves_complete_days_and_their_labels(tmp_path: Path, whole: Path, days: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, SMALL, on_day=stop_after(days))
    left = contents(tmp_path)
    parts = [f"calls-{SMALL.day(it)}.parquet" for it in range(days)]
    receipts = [f"receipts-{SMALL.day(it)}.parquet" for it in range(days)]
    others = {"incidents.json", "prices.toml", "run.json", "statement-2026-11.csv"}
    assert left.keys() == {*parts, *receipts, *others}
    assert all(left[name] == contents(whole)[name] for name in parts + receipts)
    assert json.loads(left["incidents.json"])["days_done"] == days
    accepted = sum(_accepted(tmp_path / name) for name in parts)
    assert abs(left["statement-2026-11.csv"].count(b"\n") - 1 - accepted) <= 5
    assert contents(whole)["statement-2026-11.csv"].startswith(left["statement-2026-11.csv"])


def _accepted(path: Path) -> int:
    table = pq.read_table(path, columns=["endpoint", "return_code"]).to_pylist()
    return sum(row == {"endpoint": "send", "return_code": ReturnCode.SUCCESS} for row in table)


def test_the_same_plan_continues_an_interrupted_simulation(tmp_path: Path, whole: Path) -> None:
    for days in (3, 1):  # stopped once more before anything new is made
        with pytest.raises(KeyboardInterrupt):
            simulate(tmp_path, SMALL, on_day=stop_after(days))
        assert json.loads((tmp_path / "incidents.json").read_text())["days_done"] == 3
    first = tmp_path / f"calls-{SMALL.start}.parquet"
    written_ns = first.stat().st_mtime_ns
    simulate(tmp_path, SMALL)
    assert contents(tmp_path) == contents(whole)
    assert first.stat().st_mtime_ns == written_ns


def test_a_day_that_cannot_be_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"calls-{SMALL.day(1)}.parquet.part").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        simulate(tmp_path, SMALL)
    left = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert left == [f"calls-{SMALL.start}.parquet", f"receipts-{SMALL.start}.parquet"]
    assert json.loads((tmp_path / "incidents.json").read_text())["days_done"] == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(SMALL, seed=4),
        replace(SMALL, days=6),
        replace(SMALL, calls=20_001),
        replace(SMALL, incidents=(IncidentKind.OUTAGE,)),
    ],
)
def test_the_folder_of_another_plan_is_refused_and_unchanged(tmp_path: Path, other: SimulationPlan) -> None:
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, SMALL, on_day=stop_after(1))
    left = contents(tmp_path)
    with pytest.raises(InputError, match="another plan"):
        simulate(tmp_path, other)
    assert contents(tmp_path) == left


@pytest.mark.parametrize("name", ["calls.parquet", "0.msgpack", "run.json", "prices.toml", "statement-2026-11.csv"])
def test_a_folder_with_other_records_is_refused_and_unchanged(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=name):
        simulate(tmp_path, SMALL)
    assert contents(tmp_path) == {name: b""}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"plan": null}'])
def test_a_label_file_without_the_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "incidents.json").write_text(text)
    with pytest.raises(InputError, match="another plan"):
        simulate(tmp_path, SMALL)
    assert contents(tmp_path) == {"incidents.json": text.encode()}


def test_other_files_in_the_folder_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    assert simulate(tmp_path, SimulationPlan(days=1, calls=2_000)).days == 1
