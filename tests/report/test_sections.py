"""What the sections of a report say, of two simulated weeks with incidents whose labels are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from toolkit import analysis, settings
from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.price_list import PriceRow, Prices
from toolkit.report import html as page
from toolkit.report import json_csv, markdown
from toolkit.report.build import compose
from toolkit.report.inputs import Questions, Subject, read_run, read_subject
from toolkit.report.model import Figure, Report, Table
from toolkit.report.write_files import Format, write
from toolkit.runs.thresholds import parse
from toolkit.simulation import SimulationPlan, simulate

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
def subject(folder: Path) -> Subject:
    asked = Questions(
        against=read_run(folder, until="2026-11-08"),
        slo="99.9%",
        prices=settings.load_prices(folder / "prices.toml"),
        statement=folder / "statement-2026-11.csv",
        conditions=(parse("share(50019) < 50%"),),
    )
    return read_subject([folder], asked)


@pytest.fixture(scope="module")
def report(subject: Subject) -> Report:
    return compose(subject)


def table(report: Report, name: str) -> Table:
    (found,) = (table for table in report.tables() if table.name == name)
    return found


def label(folder: Path, kind: str) -> dict[str, str]:
    incidents = json.loads((folder / "incidents.json").read_text())["incidents"]
    return next(it for it in incidents if it["kind"] == kind)


def test_the_sections_come_in_the_order_in_which_they_are_read(report: Report) -> None:
    assert [section.name for section in report.sections] == ORDER


def test_what_is_worked_out_next_is_heard(subject_of: Callable[..., Subject], traffic) -> None:
    heard: list[str] = []
    compose(subject_of(analysis.from_records(traffic)), heard.append)
    assert heard[:3] == ["verdicts", "outcomes", "latency"]


def test_every_frame_is_what_the_analysis_says(report: Report, subject: Subject) -> None:
    calls = subject.calls
    for name, frame in {
        "latency": analysis.latency(calls),
        "most_accepted": analysis.most_accepted(calls),
        "error_budget": analysis.error_budget(calls, "99.9%"),
        "cost": analysis.cost(calls, subject.prices, by=()),
    }.items():
        pd.testing.assert_frame_equal(table(report, name).frame, frame)
    assert table(report, "return_codes").frame["calls"].tolist() == analysis.return_codes(calls)["calls"].tolist()


def test_an_outage_is_told_with_its_time(report: Report, folder: Path) -> None:
    outage = label(folder, "outage")
    rows = [[str(cell) for cell in row] for row in table(report, "changes").rows]
    ours = [row for row in rows if row[3] == "50019 server error"]
    since = pd.Timestamp(outage["started"])
    assert any(abs(pd.Timestamp(row[0], tz="UTC") - since) <= pd.Timedelta("10min") for row in ours)


def test_a_key_that_was_rotated_badly_gathers_in_its_app(report: Report) -> None:
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
            assert sum(map(Decimal, frame[column].dropna().astype(str))) == Decimal(str(total[column])), (name, column)


def test_the_statement_s_planted_differences_are_told(report: Report) -> None:
    kinds = {str(row[0]) for row in table(report, "discrepancies").rows}
    assert {"billed twice", "missing in the records", "missing in the statement"} <= kinds


def test_the_pumped_prefix_is_the_first_suspect(report: Report, folder: Path) -> None:
    assert table(report, "pumped").rows[0][0] == label(folder, "pumping")["prefix"]


def test_rules_are_told_as_one_would_say_them(report: Report) -> None:
    assert "1 within 1 min" in [row[0] for row in table(report, "limits").rows]


def test_what_everybody_should_know_is_a_sentence_each(report: Report, folder: Path) -> None:
    found = {section.name: section.finding for section in report.findings()}
    assert list(found) == [name for name in ORDER if name in found]
    assert found["verdicts"] == "1 of 1 threshold kept."
    assert "levels changed, above all this: " in found["changes"]
    money = table(report, "cost").frame["money"].iloc[0]
    assert f"messages cost {money:,.3f}".rstrip("0") in found["cost"]
    assert "in dispute" in found["statement"]
    assert found["suspects"].startswith("Pumped: 1 prefix.")
    assert all(sentence.endswith(".") for sentence in found.values())


def test_the_page_holds_all_of_it_within_three_megabytes(report: Report) -> None:
    html = page.render(report)
    assert len(html.encode()) < 3_000_000
    assert re.findall(r'<h2 id="([\w-]+)"', html) == ORDER
    figures = [part for section in report.sections for part in section.parts if isinstance(part, Figure)]
    assert html.count("<svg") == 2 * len(figures)
    assert html.count("<table") == len(report.tables())
    assert not re.search(r"<script|<link|<img|\bhttps?://(?!www\.w3\.org)", html)


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
    assert found["schema"] == 1
    assert list(found["tables"]) == [table.name for table in report.tables()]
    assert Decimal(found["tables"]["cost"][0]["money"]) == Decimal(str(table(report, "cost").frame["money"].iloc[0]))
    assert found["tables"]["errors"][0]["first_seen"].endswith("+00:00")
    assert [it["status"] for it in found["verdicts"]] == ["PASS"]


def test_csv_has_a_file_for_each_table(report: Report, tmp_path: Path) -> None:
    files = write(report, tmp_path, [Format.CSV])
    assert [path.name for path in files] == [f"report-{table.name}.csv" for table in report.tables()]
    read = pd.read_csv(tmp_path / "report-return_codes.csv")
    assert read["calls"].sum() == table(report, "return_codes").frame["calls"].sum()


@pytest.mark.parametrize("codes", [[], [50000], [50019]])
def test_no_call_one_call_and_all_failing_have_reports(codes: list[int], subject_of, call) -> None:
    records = [call(Endpoint.SEND, code) for code in codes]
    report = compose(subject_of(analysis.from_records(records), slo="99%"))
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
    report = compose(read_subject(folders))
    assert [(it.run, it.verdict.status.value) for it in report.judged] == [("good", "PASS"), ("bad", "FAIL")]
    assert (report.name, report.target) == ("good, bad", "http://good, http://bad")
    assert ("bad.target", "http://bad") in table(report, "settings").rows


def test_rows_that_could_not_be_read_are_told(tmp_path: Path) -> None:
    good = '{"started_ns": 1793966400000000000, "endpoint": "send", "latency_ns": 1000000, "return_code": 50000}'
    (tmp_path / "calls.jsonl").write_text(f"{good}\nnot a call\n")
    report = compose(read_subject([tmp_path / "calls.jsonl"]))
    (row,) = table(report, "unread").rows
    assert "2" in row


def test_what_rose_in_a_single_app_gathers_everywhere_alike(subject_of, call) -> None:
    records = [
        call(
            Endpoint.SEND,
            50019 if 4000 <= at < 4400 and at % 2 else 50000,
            started_ns=1_793_966_400_000_000_000 + at * 10**9,
        )
        for at in range(10_000)
    ]
    report = compose(subject_of(analysis.from_records(records)))
    assert {str(row[3]) for row in table(report, "why").rows} == {"everywhere alike"}
    assert page.render(report)


def test_prices_that_know_no_segment_say_so(subject: Subject) -> None:
    late = Prices((PriceRow(date(2027, 1, 1), Decimal("0.1"), "CNY"),))
    report = compose(replace(subject, asked=Questions(prices=late)))
    assert dict(table(report, "cost").rows)["cost"] == "–"
    assert "cost" not in {section.name for section in report.findings()}
    (forecast,) = (section for section in report.sections if section.name == "forecast")
    assert forecast.note == "There is none: nothing sent has a price."


def test_prices_that_know_some_segments_say_of_how_many_they_know_nothing(subject: Subject) -> None:
    some = Prices((PriceRow(date(2026, 11, 9), Decimal("0.1"), "CNY"),))
    report = compose(replace(subject, asked=Questions(prices=some)))
    by_day = table(report, "cost_by_day").frame
    assert by_day["money"].isna().tolist() == [day.day < 9 for day in by_day["day"]]
    unpriced = table(report, "cost").frame["unpriced"].iloc[0]
    (finding,) = (section.finding for section in report.findings() if section.name == "cost")
    assert f"without {unpriced:,} segments that no price is known of" in finding


def test_a_statement_without_prices_is_compared_by_messages(subject: Subject, folder: Path) -> None:
    report = compose(replace(subject, asked=Questions(statement=folder / "statement-2026-11.csv")))
    (section,) = (section for section in report.sections if section.name == "statement")
    assert "No price is known" in section.note
    assert [type(part) for part in section.parts] == [Table, Table]
    assert table(report, "statement").rows[0][2] == "–"


def test_a_statement_is_of_its_whole_month(folder: Path) -> None:
    with pytest.raises(InputError, match="whole month"):
        read_subject([folder], Questions(statement=folder / "statement-2026-11.csv"), since="2026-11-05")


def test_ids_of_the_page_are_its_own_each(report: Report) -> None:
    ids = re.findall(r'\bid="([^"]+)"', re.sub(r"<svg.*?</svg>", "", page.render(report), flags=re.DOTALL))
    assert len(ids) == len(set(ids))


def test_many_outcomes_make_no_larger_a_picture(subject_of, call) -> None:
    second = 1_000_000_000
    records = [
        call(Endpoint.SEND, 60_000 + at % 500, started_ns=1_793_966_400 * second + at * second) for at in range(20_000)
    ]
    assert len(page.render(compose(subject_of(analysis.from_records(records))))) < 1_000_000


EVIL = "\x1b[31mred\x07 | <b> 008613800138000 " + "x" * 3_000


@pytest.mark.parametrize("form", list(Format))
def test_hostile_texts_are_harmless_in_every_format(form: Format, call, run_folder, tmp_path: Path) -> None:
    figures = {f"of {EVIL}": 1}
    (tmp_path / "claims.json").write_text(
        json.dumps([{"claim": "replay", "says": EVIL, "status": "PASS", "figures": figures}])
    )
    records = [call(Endpoint.SEND, None, error=EVIL, run=EVIL), call(Endpoint.VERIFY, 50000, run=EVIL)]
    folder = run_folder(records, {"note": EVIL, "thresholds": ["ok_ratio(verify) > 1%"]})
    written = write(compose(read_subject([folder])), tmp_path / "out", [form])
    for path in written:
        text = path.read_text()
        assert not [it for it in ("\x1b", "\x07", "13800138000") if it in text], path
        if path.suffix == ".xml":
            ElementTree.fromstring(text)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("claims.json", '{"a": 1}'),
        ("claims.json", '[{"claim": "x"}]'),
        ("claims.json", '[{"claim": "x", "says": "y", "status": "MAYBE", "figures": {}}]'),
        ("claims.json", '[{"claim": "x", "says": "y", "status": "PASS", "figures": {"a": "b"}}]'),
        ("run.json", "[1, 2]"),
        ("run.json", '{"schema": 99, "settings": {}}'),
        ("run.json", '{"settings": [1]}'),
        ("run.json", '{"settings": {"thresholds": "p99(send.caller_ms) < 1"}}'),
    ],
)
def test_files_of_a_run_that_hold_something_else_are_refused(
    name: str, content: str, call, run_folder, tmp_path: Path
) -> None:
    folder = run_folder([call(Endpoint.SEND, 50000)])
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=r"mend|another version|write a list"):
        compose(read_subject([folder]))


def test_runs_of_one_name_are_told_apart(call, run_folder, tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folders.append(run_folder([call(Endpoint.SEND, 50000)], {"host": name}, tmp_path / name))
    report = compose(read_subject(folders))
    assert report.name == f"friday of {folders[0]}, friday of {folders[1]}"
    assert "calls per second" not in {fact.label for fact in report.facts}
