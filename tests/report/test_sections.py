"""Sections of a report on two simulated weeks with labelled incidents."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from support.limited import Sliding, decide, hammered
from support.messages import messages

from toolkit import analysis, number_format, settings
from toolkit.analysis.calls_table import lazy
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.price_list import PriceList, PriceRow
from toolkit.report import html as page
from toolkit.report import json_csv, markdown
from toolkit.report.build import build_report
from toolkit.report.inputs import ReportInputs, ReportOptions, read_inputs, read_run
from toolkit.report.model import Figure, Report, Section, Table
from toolkit.report.sections.changes import build_period
from toolkit.report.sections.rate_limits import build_rate_limits
from toolkit.report.write_files import Format, write
from toolkit.runs.thresholds import parse_threshold
from toolkit.simulation import SimulationPlan, simulate
from toolkit.simulation.plan import IncidentKind

ORDER = [
    "verdicts",
    "outcomes",
    "latency",
    "changes",
    "why",
    "comparison",
    "cost",
    "forecast",
    "statement",
    "errors",
    "budget",
    "limits",
    "suspects",
    "settings",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    simulate(folder, SimulationPlan(days=15, calls=120_000, seed=4))
    return folder


@pytest.fixture(scope="module")
def inputs(folder: Path) -> ReportInputs:
    asked = ReportOptions(
        against=read_run(folder, until="2026-11-08"),
        slo="99.9%",
        prices=settings.load_prices(folder / "prices.toml"),
        statement=folder / "statement-2026-11.csv",
        conditions=(parse_threshold("share(50019) < 50%"),),
    )
    return read_inputs([folder], asked)


@pytest.fixture(scope="module")
def report(inputs: ReportInputs) -> Report:
    return build_report(inputs)


def table(report: Report, name: str) -> Table:
    (found,) = (table for table in report.tables() if table.name == name)
    return found


def label(folder: Path, kind: str) -> dict[str, str]:
    incidents = json.loads((folder / "incidents.json").read_text())["incidents"]
    return next(it for it in incidents if it["kind"] == kind)


def test_the_sections_come_in_the_order_in_which_they_are_read(report: Report) -> None:
    assert [section.name for section in report.sections] == ORDER


def test_the_callback_gets_each_section_before_it_is_computed(inputs_of: Callable[..., ReportInputs], traffic) -> None:
    heard: list[str] = []
    build_report(inputs_of(analysis.from_records(traffic)), heard.append)
    assert heard[:3] == ["verdicts", "outcomes", "latency"]


def test_frames_are_those_of_the_analysis(report: Report, inputs: ReportInputs) -> None:
    calls = inputs.calls
    for name, frame in {
        "latency": analysis.latency(calls),
        "most_accepted": analysis.most_accepted(calls),
        "error_budget": analysis.error_budget(calls, "99.9%"),
        "cost": analysis.cost(calls, inputs.prices, by=()),
    }.items():
        pd.testing.assert_frame_equal(table(report, name).frame, frame)
    assert table(report, "return_codes").frame["calls"].tolist() == analysis.return_codes(calls)["calls"].tolist()


def test_an_outage_is_found_at_its_time(report: Report, folder: Path) -> None:
    outage = label(folder, "outage")
    rows = [[str(cell) for cell in row] for row in table(report, "changes").rows]
    ours = [row for row in rows if row[3] == "50019 server error"]
    since = pd.Timestamp(outage["started"])
    assert any(abs(pd.Timestamp(row[0], tz="UTC") - since) <= pd.Timedelta("10min") for row in ours)


def test_a_bad_key_rotation_is_concentrated_in_its_app(report: Report) -> None:
    why = table(report, "why").frame
    ours = why[why["outcome"] == "send 50002 auth failed"]
    assert ours.iloc[0]["dimension"] in {"app_key", "source"}


def test_days_templates_and_carriers_add_up_to_the_total_to_the_last_cent(report: Report) -> None:
    total = table(report, "cost").frame.iloc[0]
    for name in ("cost_by_day", "cost_by_app_key_and_temp_id", "cost_by_carrier"):
        frame = table(report, name).frame
        for column in ("sends", "accepted", "segments", "verified", "wasted", "resent", "refused"):
            assert frame[column].sum() == total[column], (name, column)
        for column in ("money", "wasted_money", "resent_money"):
            assert round(frame[column].sum(), 6) == round(total[column], 6), (name, column)


def test_the_planted_differences_of_the_statement_are_found(report: Report) -> None:
    kinds = {str(row[0]) for row in table(report, "discrepancies").rows}
    assert {"billed twice", "missing in the records", "missing in the statement"} <= kinds


def test_the_pumped_prefix_is_the_first_suspect(report: Report, folder: Path) -> None:
    assert table(report, "pumped").rows[0][0] == label(folder, "pumping")["prefix"]


def test_rules_are_written_as_a_count_within_a_duration(report: Report) -> None:
    assert "1 within 1 min" in [row[0] for row in table(report, "limits").rows]


def test_the_finding_on_rate_limits_has_the_share_of_refusals_and_rules_without_a_round_window(inputs_of) -> None:
    rng = np.random.default_rng(1)
    calls = decide(hammered(rng, range(40), 20, 3), lambda now, mobile: [Sliding(2, 77)], rng)
    refused = int((calls["return_code"] == 50009).sum())
    (section,) = build_rate_limits(inputs_of(calls))
    assert section.finding.startswith(
        f"Rules explain {refused:,} of {refused:,} refusals (100.00 %): 2 within 1 min 17 s ("
    )


def test_the_finding_on_rate_limits_says_since_when_a_changed_rule_holds(inputs_of) -> None:
    rng = np.random.default_rng(1)
    tries = hammered(rng, range(40), 100, 6)
    change = sorted(tries)[len(tries) // 2][0]
    calls = decide(tries, lambda now, _: [Sliding(1, 60), Sliding(5 if now < change else 3, 3600)], rng)
    (section,) = build_rate_limits(inputs_of(calls))
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?"
    until, since = (rf"{count} within 1 h {word} {moment} \(UTC\) \(" for count, word in ((5, "until"), (3, "since")))
    assert re.search(f"1 within 1 min \\(.*{until}.*{since}", section.finding), section.finding


def test_the_finding_on_rate_limits_names_a_host_whose_clock_is_slow(inputs_of, tmp_path: Path) -> None:
    simulate(tmp_path, SimulationPlan(days=5, calls=20_000, seed=1, incidents=(IncidentKind.CLOCK_SKEW,)))
    (section,) = build_rate_limits(inputs_of(analysis.read(tmp_path)))
    assert re.search(r"The clock of shop-c was 4[3-7](\.\d)? s slow: its times are corrected\.", section.finding)


def test_the_figures_of_a_period_differ_or_could_not_be_tested(call) -> None:
    def calls(starts_s: int, seconds: int, code: int) -> analysis.Calls:
        at_ns = [1_793_966_400_000_000_000 + (starts_s + second) * 10**9 for second in range(seconds)]
        return analysis.Calls(
            lazy(analysis.from_records([call(Endpoint.SEND, code, started_ns=it) for it in at_ns for _ in range(4)]))
        )

    before = calls(0, 600, 50000)
    (some, *_) = build_period(calls(600, 600, 50019), before)
    (few, *_) = build_period(calls(600, 3, 50019), before)
    (none,) = build_period(calls(600, 600, 50000), before)
    notes = [section.note.partition("all others. ")[2] for section in (some, few, none)]
    assert notes == [
        "The figures that differ by more than chance are listed.",
        "The figures that differ by more than chance are listed, then those that could not be tested.",
        "No figure differs by more than chance.",
    ]


@pytest.mark.parametrize("given", ["each run", "the folder of the runs", "a pattern"])
def test_no_rule_is_inferred_from_runs_of_different_or_invalid_speed(
    given: str, run_folder, call, tmp_path: Path
) -> None:
    def limits_of(*speeds: object) -> Section:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for number, speed in enumerate(speeds):
            folder = root / f"run-{number}"
            folder.mkdir(parents=True)
            run_folder([call(Endpoint.SEND, 50009, mobile_key=1)], {} if speed is None else {"speed": speed}, folder)
        sources = {"each run": sorted(root.iterdir()), "the folder of the runs": [root], "a pattern": [f"{root}/run*"]}
        (section,) = build_rate_limits(read_inputs(sources[given]))
        return section

    differ = "Rules can't be inferred: the runs had different --speed. Report each run alone."
    assert [limits_of(1, 60).note, limits_of(None, 60).note] == [differ, differ]
    assert limits_of(60, 60.0).note.endswith("which ran 60 times as fast.")
    for wrong in ("fast", 0, -1, [60], {"of": 60}):
        section = limits_of(1, wrong)
        assert section.note == f"Rules can't be inferred: the speed {wrong!r} in run.json is not a number above 0."
        assert section.parts == ()


def test_each_finding_is_one_sentence(report: Report, folder: Path) -> None:
    found = {section.name: section.finding for section in report.findings()}
    assert list(found) == [name for name in ORDER if name in found]
    assert found["verdicts"] == "1 of 1 threshold passed."
    assert " changes. The strongest: " in found["changes"]
    money = table(report, "cost").frame["money"].iloc[0]
    assert f" cost {number_format.money(money, 'CNY')};" in found["cost"]
    assert "in dispute" in found["statement"]
    assert found["suspects"].startswith("Suspected SMS pumping: 1 prefix, whose messages cost ")
    assert all(sentence.endswith(".") for sentence in found.values())


def test_the_page_holds_all_of_it_within_three_megabytes(report: Report) -> None:
    html = page.render(report)
    assert len(html.encode()) < 3_000_000
    assert re.findall(r'<h2 id="([\w-]+)"', html) == ORDER
    figures = [part for section in report.sections for part in section.parts if isinstance(part, Figure)]
    assert html.count("<svg") == 2 * len(figures)
    assert html.count("<table") == len(report.tables())
    assert html.count("<script") == 1 + html.count('<script type="application/json">')
    plain = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"<link|<img|\bhttps?://(?!www\.w3\.org)", plain)


def test_markdown_has_a_heading_for_each_section_and_even_rows(report: Report) -> None:
    text = markdown.render(report)
    assert text.count("\n## ") == len(ORDER)
    widths: list[set[int]] = [set()]
    for line in text.splitlines():
        if line.startswith("|"):
            widths[-1].add(len(re.findall(r"(?<!\\)\|", line)))
        elif widths[-1]:
            widths.append(set())
    assert all(len(it) <= 1 for it in widths)


def test_json_has_whole_frames_exact_money_and_no_nan(report: Report) -> None:
    found = json.loads(json_csv.to_json(report), parse_constant=lambda name: pytest.fail(name))
    assert found["schema"] == 2
    assert list(found["tables"]) == [table.name for table in report.tables()]
    assert found["tables"]["cost"][0]["money"] == table(report, "cost").frame["money"].iloc[0]
    assert found["tables"]["errors"][0]["first_seen"].endswith("+00:00")
    assert [it["status"] for it in found["verdicts"]] == ["PASS"]


def test_json_has_counts_as_integers_and_longer_ones_than_a_double_holds_as_text(report: Report) -> None:
    keys = pd.DataFrame({"mobile_key": pd.array([2**60 + 1, 7, None], "Int64"), "calls": [3, 2, 1]})
    sections = [*report.sections, Section("keys", "Keys", parts=[Table("keys", (), [], keys)])]
    tables = json.loads(json_csv.to_json(replace(report, sections=sections)))["tables"]
    assert tables["keys"][0] == {"mobile_key": "1152921504606846977", "calls": 3}
    assert [row["mobile_key"] for row in tables["keys"]][1:] == [7, None]
    names = {"calls", "sends", "mobiles", "messages", "verifies"}
    counts = {(name, it, type(row[it])) for name, rows in tables.items() for row in rows for it in names & row.keys()}
    assert [found for found in counts if found[2] not in (int, type(None))] == []


def test_csv_has_a_file_for_each_table(report: Report, tmp_path: Path) -> None:
    files = write(report, tmp_path, [Format.CSV])
    assert [path.name for path in files] == [f"report-{table.name}.csv" for table in report.tables()]
    read = pd.read_csv(tmp_path / "report-return_codes.csv")
    assert read["calls"].sum() == table(report, "return_codes").frame["calls"].sum()


@pytest.mark.parametrize("codes", [[], [50000], [50019]])
def test_no_calls_one_call_and_only_failures_have_reports(codes: list[int], inputs_of, call) -> None:
    records = [call(Endpoint.SEND, code) for code in codes]
    report = build_report(inputs_of(analysis.from_records(records), slo="99%"))
    assert page.render(report)
    assert markdown.render(report)
    json.loads(json_csv.to_json(report), parse_constant=lambda name: pytest.fail(name))


def test_several_runs_are_judged_each_by_its_own_thresholds(run_folder, call, tmp_path: Path) -> None:
    folders = []
    for name, code in (("good", 50000), ("bad", 50019)):
        folder = tmp_path / name
        folder.mkdir()
        settings = {"thresholds": ["ok_ratio(send) > 50%"], "target": f"http://{name}"}
        folders.append(run_folder([call(Endpoint.SEND, code, run=name)], settings, folder))
    report = build_report(read_inputs(folders))
    assert [(it.run, it.verdict.status.value) for it in report.verdicts] == [("good", "PASS"), ("bad", "FAIL")]
    assert (report.name, report.target) == ("good, bad", "http://good, http://bad")
    assert ("bad.target", "http://bad") in table(report, "settings").rows


def test_unread_rows_are_counted(tmp_path: Path) -> None:
    good = '{"started_ns": 1793966400000000000, "endpoint": "send", "latency_ns": 1000000, "return_code": 50000}'
    (tmp_path / "calls.jsonl").write_text(f"{good}\nnot a call\n")
    report = build_report(read_inputs([tmp_path / "calls.jsonl"]))
    (row,) = table(report, "unread").rows
    assert "2" in row


def test_a_rise_in_the_only_app_is_not_concentrated(inputs_of, call) -> None:
    records = [
        call(
            Endpoint.SEND,
            50019 if 4000 <= at < 4400 and at % 2 else 50000,
            started_ns=1_793_966_400_000_000_000 + at * 10**9,
        )
        for at in range(10_000)
    ]
    report = build_report(inputs_of(analysis.from_records(records)))
    assert {str(row[3]) for row in table(report, "why").rows} == {"not concentrated"}
    assert page.render(report)


def test_messages_that_a_carrier_loses_are_named_in_the_head_and_explained(inputs_of) -> None:
    lost = messages(1, is_lost=lambda it: (it["prefix"] < "1390001") & it["hour"].between(150, 198))
    report = build_report(inputs_of(lost))
    (finding,) = [section.finding for section in report.findings() if section.name == "changes"]
    assert "send conversion (carrier China Mobile) fell from 8" in finding
    (why,) = table(report, "why").frame.to_dict("records")
    assert (why["dimension"], why["value"]) == ("carrier", "China Mobile")


def test_without_a_price_for_any_segment_there_is_no_cost(inputs: ReportInputs) -> None:
    late = PriceList((PriceRow(date(2027, 1, 1), Decimal("0.1"), "CNY"),))
    report = build_report(replace(inputs, options=ReportOptions(prices=late)))
    assert dict(table(report, "cost").rows)["cost"] == "–"
    assert "cost" not in {section.name for section in report.findings()}
    (forecast,) = (section for section in report.sections if section.name == "forecast")
    assert forecast.note == "No forecast: no message has a price."


def test_segments_without_a_price_are_counted(inputs: ReportInputs) -> None:
    some = PriceList((PriceRow(date(2026, 11, 9), Decimal("0.1"), "CNY"),))
    report = build_report(replace(inputs, options=ReportOptions(prices=some)))
    by_day = table(report, "cost_by_day").frame
    assert by_day["money"].isna().tolist() == [day.day < 9 for day in by_day["day"]]
    unpriced = table(report, "cost").frame["unpriced"].iloc[0]
    (finding,) = (section.finding for section in report.findings() if section.name == "cost")
    assert f"not counting {unpriced:,} segments without a price" in finding


def test_a_statement_without_prices_is_compared_by_messages(inputs: ReportInputs, folder: Path) -> None:
    report = build_report(replace(inputs, options=ReportOptions(statement=folder / "statement-2026-11.csv")))
    (section,) = (section for section in report.sections if section.name == "statement")
    assert "No price is known" in section.note
    assert [type(part) for part in section.parts] == [Table, Table]
    assert table(report, "statement").rows[0][2] == "–"


def test_a_statement_is_compared_within_a_period(folder: Path) -> None:
    options = ReportOptions(statement=folder / "statement-2026-11.csv", timezone="Asia/Shanghai")
    whole = table(build_report(read_inputs([folder], options)), "discrepancies").frame
    asked = read_inputs([folder], options, since="2026-11-05", until="2026-11-09")
    found = table(build_report(asked), "discrepancies").frame
    # Lines outside of the period are still compared with their records; only missing lines depend on the period.
    always = whole["kind"] != "missing in the statement"
    inside = whole["sent_at"].between(*pd.to_datetime(["2026-11-05", "2026-11-09"]).tz_localize("Asia/Shanghai"))
    pd.testing.assert_frame_equal(found, whole[always | inside].reset_index(drop=True))


def test_the_times_of_a_report_are_those_of_its_time_zone(inputs: ReportInputs) -> None:
    report = build_report(replace(inputs, options=replace(inputs.options, timezone="Asia/Shanghai")))
    assert report.when.endswith("Asia/Shanghai")
    titles = {header.title for part in report.tables() for header in part.headers}
    titles |= {str(row[0]) for part in report.tables() for row in part.rows}
    assert "first (Asia/Shanghai)" in titles
    assert not {title for title in titles if "UTC" in title or "{" in title}
    frames = [part.frame for section in report.sections for part in section.parts if isinstance(part, Table | Figure)]
    zones = {str(it.tz) for frame in frames for it in frame.dtypes if isinstance(it, pd.DatetimeTZDtype)}
    assert zones == {"Asia/Shanghai"}
    text = page.render(report)
    assert "time (Asia/Shanghai)" in text
    assert "(UTC)" not in text


def test_ids_of_the_page_are_unique(report: Report) -> None:
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<(svg|script).*?</\1>", "", page.render(report), flags=re.DOTALL))
    assert len(ids) == len(set(ids))


def test_many_outcomes_do_not_enlarge_the_picture(inputs_of, call) -> None:
    second = 1_000_000_000
    records = [
        call(Endpoint.SEND, 60_000 + at % 500, started_ns=1_793_966_400 * second + at * second) for at in range(20_000)
    ]
    assert len(page.render(build_report(inputs_of(analysis.from_records(records))))) < 1_000_000


EVIL = "\x1b[31mred\x07 | <b> 008613800138000 " + "x" * 3_000


def text_of(path: Path) -> str:
    """Return a file's text; of a workbook, the text of all its parts."""
    if path.suffix != ".xlsx":
        return path.read_text()
    with ZipFile(path) as book:
        return "\n".join(book.read(name).decode() for name in book.namelist())


@pytest.mark.parametrize("form", list(Format))
def test_hostile_texts_are_harmless_in_every_format(form: Format, call, run_folder, tmp_path: Path) -> None:
    figures = {f"of {EVIL}": 1}
    (tmp_path / "checks.json").write_text(
        json.dumps([{"name": "replay", "description": EVIL, "status": "PASS", "figures": figures}])
    )
    records = [call(Endpoint.SEND, None, error=EVIL, run=EVIL), call(Endpoint.VERIFY, 50000, run=EVIL)]
    folder = run_folder(records, {"note": EVIL, "thresholds": ["ok_ratio(verify) > 1%"]})
    written = write(build_report(read_inputs([folder])), tmp_path / "out", [form])
    for path in written:
        text = text_of(path)
        assert not [it for it in ("\x1b", "\x07", "13800138000") if it in text], path
        if path.suffix == ".xml":
            ElementTree.fromstring(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checks.json", '{"a": 1}'),
        ("checks.json", '[{"name": "x"}]'),
        ("checks.json", '[{"name": "x", "description": "y", "status": "MAYBE", "figures": {}}]'),
        ("checks.json", '[{"name": "x", "description": "y", "status": "PASS", "figures": {"a": "b"}}]'),
        ("run.json", "[1, 2]"),
        ("run.json", '{"schema": 99, "settings": {}}'),
        ("run.json", '{"schema": 1, "settings": {}, "claims": [{"claim": "soak", "status": "FAIL"}]}'),
        ("run.json", '{"settings": [1]}'),
        ("run.json", '{"settings": {"thresholds": "p99(send.caller_ms) < 1"}}'),
    ],
)
def test_invalid_files_of_a_run_are_refused(name: str, content: str, call, run_folder, tmp_path: Path) -> None:
    folder = run_folder([call(Endpoint.SEND, 50000)])
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"correct or remove|another version|expected a list"):
        build_report(read_inputs([folder]))


def test_runs_of_the_same_name_are_distinguished_by_their_folders(call, run_folder, tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folders.append(run_folder([call(Endpoint.SEND, 50000)], {"host": name}, tmp_path / name))
    report = build_report(read_inputs(folders))
    assert report.name == f"friday of {folders[0]}, friday of {folders[1]}"
    assert "calls per second" not in {fact.label for fact in report.facts}
