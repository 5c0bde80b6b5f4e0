"""The trend of many runs: its rows, data points and changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.runs import write_run, write_runs

from toolkit.analysis.charts import trend as draw_trend
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.records.call_record import CallRecord
from toolkit.records.parquet import PARQUET_NAME, write_parquet
from toolkit.report.trend import DEFAULT_METRICS, build_trend, read_trend

START_NS = 1_793_966_400_000_000_000


def test_the_run_since_which_the_service_is_slower_is_named_with_its_label(tmp_path: Path) -> None:
    write_runs(tmp_path)
    found = read_trend([tmp_path])
    changes = found.changes()
    assert set(changes["run"]) == {"run20"}
    assert set(changes["label"]) == {"v20"}
    assert changes["metric"].tolist() == ["p50(send.caller_ms)", "p99(send.caller_ms)"]
    assert changes["ratio"].tolist() == pytest.approx([1.15, 1.15], rel=0.03)
    assert changes["is_worse"].all()
    assert list(found.metrics) == ["p50(send.caller_ms)", "p99(send.caller_ms)", "failed", "rate(send)"]


def test_a_faster_service_and_more_successes_are_better(tmp_path: Path) -> None:
    for number in range(30):
        slow, some = number < 15, number * 7 % 5
        write_run(tmp_path, number, (40 if slow else 20) + some / 10, failed=50 + some if slow else 0)
    changes = read_trend([tmp_path], ["p99(send.caller_ms)", "ok_ratio(send)", "failed(send)"]).changes()
    assert len(changes) == 3
    assert not changes["is_worse"].any()
    assert set(changes["run"]) == {"run15"}


@pytest.mark.parametrize(
    ("settings", "lack"),
    [
        ({"ended": "incomplete"}, "incomplete: it was killed or is still running"),
        ({"ended": "interrupted"}, "ended early (interrupted)"),
        ({"bottleneck": "late"}, "the load generator was the bottleneck"),
        ({"saturation": "waited"}, "saturated: arrivals waited for a connection"),
        ({"rate_per_s": 20.0}, "other settings: rate_per_s 20.0, not 50.0"),
    ],
)
def test_a_run_that_cannot_be_compared_is_in_the_table_and_no_data_point(
    tmp_path: Path, settings: dict[str, object], lack: str
) -> None:
    for number in range(14):
        write_run(tmp_path, number, 20 + number / 10, **(settings if number == 5 else {}))
    found = read_trend([tmp_path])
    assert [run.name for run in found.runs] == [f"run{number:02}" for number in range(14)]
    assert found.runs[5].lack == lack
    assert len(found.points) == 13
    series = found.series()
    marks = series.loc[series["run"] == "run05", "mark"]
    assert set(marks) <= {"no data point"}
    report = build_trend(found, "runs")
    assert lack in [str(row[-1]) for row in report.tables()[-1].rows]
    assert draw_trend(series).to_dict()


def test_an_unreadable_run_is_marked(tmp_path: Path) -> None:
    for number in range(3):
        write_run(tmp_path, number, 20)
    (tmp_path / "run01/run.json").write_text('{"schema": 2, "settings": {"ended": "finished"}, "endpoints": {}}')
    (tmp_path / "run02/run.json").write_text("{")
    assert [run.lack for run in read_trend([tmp_path]).runs] == ["", *["run.json cannot be read"] * 2]


def test_a_figure_that_run_json_lacks_is_computed_from_the_calls(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 0, 20)
    calls = [
        CallRecord(START_NS + place * 10**9, "run00", "a", Endpoint.SEND, 200, 50000, None, (place + 1) * 1_000_000)
        for place in range(9)
    ]
    write_parquet(calls, folder / PARQUET_NAME)
    write_run(tmp_path, 1, 20)
    metrics = ["mean(send.latency_ms)", "p50(send.latency_ms)"]
    with_calls, without = read_trend([tmp_path], metrics).runs
    assert without.values == {metrics[0]: None, metrics[1]: 20}
    assert with_calls.values[metrics[0]] == pytest.approx(5)
    settings = json.loads((folder / "run.json").read_text())
    settings["settings"]["warm_up_s"] = 4
    (folder / "run.json").write_text(json.dumps(settings))
    write_parquet([replace(it, wait_ns=0) for it in calls], folder / PARQUET_NAME)
    assert read_trend([folder], metrics).runs[0].values[metrics[0]] == pytest.approx(7)


def test_few_runs_say_how_many_are_needed(tmp_path: Path) -> None:
    write_run(tmp_path, 0, 20)
    report = build_trend(read_trend([tmp_path]), "runs")
    assert report.findings()[0].finding == "Changes are found from 12 comparable runs on: there are 1."


def test_a_metric_that_too_few_runs_have_a_value_of_is_named_and_not_called_unchanged(tmp_path: Path) -> None:
    for number in range(14):  # only run.json is kept: the figures after the warm-up need the calls
        write_run(tmp_path, number, 20, warm_up_s=5.0)
    found = read_trend([tmp_path])
    assert list(found.metrics) == list(DEFAULT_METRICS)
    report = build_trend(found, "runs")
    assert report.findings()[0].finding == (
        f"Too few runs with a value of {', '.join(DEFAULT_METRICS)}: changes are found from 12 on."
    )


def test_a_level_that_changed_is_told_beside_a_metric_without_values(tmp_path: Path) -> None:
    write_runs(tmp_path)
    few = "mean(send.latency_ms)"
    finding = str(build_trend(read_trend([tmp_path], ["p99(send.caller_ms)", few]), "runs").findings()[0].finding)
    assert finding.startswith("1 level changed. The latest: p99(send.caller_ms) went from")
    assert finding.endswith(f" Too few runs with a value of {few}: changes are found from 12 on.")
    finding = str(build_trend(read_trend([tmp_path], ["failed", few]), "runs").findings()[0].finding)
    assert finding == f"0 levels changed. Too few runs with a value of {few}: changes are found from 12 on."


def test_a_folder_without_runs_and_a_wrong_metric_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no runs: expected a folder of runs, e\.g\. runs"):
        read_trend([tmp_path])
    write_run(tmp_path, 0, 20)
    with pytest.raises(InputError, match="invalid metric 'p99', at its end"):
        read_trend([tmp_path], ["p99"])
