"""Statements and prices equal the records, except for the injected errors."""

from __future__ import annotations

import csv
import re
import tomllib
from collections import Counter
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from phonenumbers import carrier, parse
from support.simulated import Simulated, read

from toolkit import analysis
from toolkit.api.return_codes import ReturnCode
from toolkit.settings import load_prices
from toolkit.simulation import SimulationPlan, SimulationProgress, simulate
from toolkit.simulation.billing_statement import StatementError
from toolkit.simulation.plan import parse_incidents, parse_start

Row = dict[str, Any]


def statement(folder: Path) -> list[Row]:
    rows = []
    for path in sorted(folder.glob("statement-*.csv")):
        with path.open(newline="") as file:
            of_month = list(csv.DictReader(file))
        assert {row["sent_at"][:7] for row in of_month} == {path.stem.removeprefix("statement-")}
        rows += of_month
    return rows


def prices(folder: Path) -> Row:
    return tomllib.loads((folder / "prices.toml").read_text())


def due(simulated: Simulated) -> list[Row]:
    """Return the lines by the records and the price list."""
    listed = prices(simulated.folder)
    types = {template["temp_id"]: template["type"] for template in listed["templates"]}
    calls = simulated.calls[simulated.calls["return_code"].eq(ReturnCode.SUCCESS).fillna(False)]
    sent = calls[calls["endpoint"] == "send"]
    carriers = {it: carrier.name_for_number(parse(f"+86{it}0000"), "en") for it in sent["prefix"].unique()}
    found = cache(lambda day, temp_id, of: find(listed["prices"], day, types[temp_id], of))
    sent_at = sent["started"].dt.strftime("%Y-%m-%dT%H:%M:%S.%f").str[:-3] + "Z"
    lines = []
    for call, at in zip(sent.itertuples(), sent_at, strict=True):
        price = found(call.started.date(), call.temp_id, carriers[call.prefix])
        amount = Decimal(price["per_segment"]) * int(call.segments)
        of_call = {"msg_id": call.msg_id, "sent_at": at, "segments": str(call.segments), "price": price["per_segment"]}
        lines.append(of_call | {"amount": str(amount), "currency": price["currency"]})
    return lines


def find(rows: list[Row], day: Any, template_type: str, of_carrier: str) -> Row:
    held = [
        row
        for row in rows
        if row["since"] <= day
        and row.get("template_type", template_type) == template_type
        and row.get("carrier", of_carrier) == of_carrier
    ]
    latest = max(row["since"] for row in held)
    (row,) = [row for row in held if row["since"] == latest]
    return row


def test_a_statement_equals_the_records_except_for_injected_errors(simulated: Simulated) -> None:
    stated, wanted = statement(simulated.folder), due(simulated)
    times = Counter(row["msg_id"] for row in stated)
    injected = {label["kind"]: label for label in simulated.labels if label["kind"] in list(StatementError)}
    assert set(injected) == set(StatementError)
    ids = {kind: label["msg_id"] for kind, label in injected.items()}
    by_id = {row["msg_id"]: row for row in stated}
    known = {row["msg_id"] for row in wanted}
    assert known - by_id.keys() == {ids["statement_missing"]}
    assert by_id.keys() - known == {ids["statement_unknown"]}
    assert {msg_id for msg_id, count in times.items() if count > 1} == {ids["statement_duplicate"]}
    wrong = [row["msg_id"] for row in wanted if row["msg_id"] in by_id and by_id[row["msg_id"]] != row]
    assert set(wrong) == {ids["statement_segments"], ids["statement_price"]}
    wanted_by_id = {row["msg_id"]: row for row in wanted}
    for label in injected.values():
        for said, rows in (("due", wanted_by_id), ("stated", by_id)):
            told, row = label["changed"][said], rows.get(label["msg_id"])
            assert told == (row and {name: type(told[name])(row[name]) for name in told})


def test_the_amount_of_a_line_is_its_segments_times_its_price(simulated: Simulated) -> None:
    rows = statement(simulated.folder)
    assert all(Decimal(row["amount"]) == int(row["segments"]) * Decimal(row["price"]) for row in rows)
    assert [row["sent_at"] for row in rows] == sorted(row["sent_at"] for row in rows)


def test_a_price_changes_on_the_labelled_day(simulated: Simulated) -> None:
    label = simulated.label("price_change")
    since = pd.Timestamp(label["started"]).date()
    rows = prices(simulated.folder)["prices"]
    assert {row["since"] for row in rows} == {simulated.plan.start, since}
    changed = label["changed"]
    for name, (before, after) in changed["per_segment"].items():
        days = [since - pd.Timedelta(days=1), since]
        found = [find(rows, day, changed["template_type"], name)["per_segment"] for day in days]
        assert found == [before, after]
        assert before != after


def test_the_price_list_has_the_format_of_the_settings(simulated: Simulated) -> None:
    listed = prices(simulated.folder)
    assert [set(it) for it in listed["templates"]] == [{"temp_id", "type", "segments"}] * 8
    for row in listed["prices"]:
        assert {"since", "per_segment", "currency"} <= set(row) <= {*row, "template_type", "carrier"}
        assert isinstance(row["per_segment"], str)
    charged = simulated.calls.dropna(subset="segments").groupby("temp_id")["segments"].max().to_dict()
    assert charged == {it["temp_id"]: it["segments"] for it in listed["templates"]}


def test_every_calendar_month_has_a_statement_with_each_error(tmp_path: Path) -> None:
    plan = SimulationPlan(
        days=4, calls=8_000, start=parse_start("2026-12-30"), incidents=parse_incidents("wrong_statement")
    )
    labels = simulate(tmp_path, plan).incidents
    names = [path.name for path in sorted(tmp_path.glob("statement-*"))]
    assert names == ["statement-2026-12.csv", "statement-2027-01.csv"]
    assert statement(tmp_path)
    kinds = Counter((label["changed"]["statement"], label["kind"]) for label in labels)
    assert kinds == dict.fromkeys(((name, kind.value) for name in names for kind in StatementError), 1)


@pytest.mark.parametrize("incidents", ["none", "outage"])
def test_no_errors_are_injected_unless_planned(tmp_path: Path, incidents: str) -> None:
    plan = SimulationPlan(days=1, calls=3_000, incidents=parse_incidents(incidents))
    labels = simulate(tmp_path, plan).incidents
    assert not [label for label in labels if label["kind"] in list(StatementError)]
    assert len(statement(tmp_path)) == len({row["msg_id"] for row in statement(tmp_path)})


# Statements of vendors.

VENDOR_COLUMNS = {"sent_at": "提交时间", "segments": "计费条数", "price": "单价", "amount": "金额", "currency": "币种"}


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    folder = tmp_path_factory.mktemp("vendor")
    incidents = parse_incidents("price_change,wrong_statement")
    plan = SimulationPlan(days=4, calls=20_000, start=date(2026, 11, 28), incidents=incidents, vendor_statement=True)
    simulate(folder, plan)
    return read(folder, plan)


def test_a_vendors_statement_has_masked_mobiles_long_serials_and_carrier_codes(vendor: Simulated) -> None:
    texts = [path.read_text(encoding="utf-8") for path in vendor.folder.glob("statement-*.csv")]
    rows = [row for text in texts for row in csv.DictReader(text.splitlines())]
    assert all(re.fullmatch(r"1\d\d\*{4}\d{4}", row["手机号"]) for row in rows)
    assert len({row["流水号"] for row in rows}) == len(rows)
    assert all(2**53 < int(row["流水号"]) < 2**63 for row in rows)
    assert {"DELIVRD", "EXPIRED", "UNKNOWN"} <= {row["状态"] for row in rows}


def test_a_vendors_clock_is_3_s_fast_and_shows_beijing_time(vendor: Simulated) -> None:
    path = vendor.folder / "statement-2026-11.csv"
    lines = pd.read_csv(path, dtype="str").drop_duplicates("msg_id").merge(vendor.calls, on="msg_id")
    shown = pd.to_datetime(lines["提交时间"]).dt.tz_localize("Asia/Shanghai")
    ahead_s = (shown - lines["started"]).dt.total_seconds()
    assert ahead_s[lines["endpoint"] == "send"].between(2, 3).all()


def test_a_vendors_months_and_prices_begin_at_midnight_in_beijing(vendor: Simulated) -> None:
    assert len(list(vendor.folder.glob("statement-*.csv"))) == 2
    listed, found = load_prices(vendor.folder / "prices.toml"), []
    for path in sorted(vendor.folder.glob("statement-*.csv")):
        reconciled = analysis.reconcile(
            analysis.read(vendor.folder), path, listed, columns=VENDOR_COLUMNS, timezone="Asia/Shanghai"
        )
        found += [(path.name, msg_id) for msg_id in reconciled.discrepancies["msg_id"]]
    labels = [label for label in vendor.labels if label["kind"] in list(StatementError)]
    assert sorted(found) == sorted((label["changed"]["statement"], label["msg_id"]) for label in labels)
    started = pd.Timestamp(vendor.label("price_change")["started"]).tz_convert("Asia/Shanghai")
    assert started == started.normalize()


def test_a_vendors_statements_are_continued_across_months(vendor: Simulated, tmp_path: Path) -> None:
    def stop(written: SimulationProgress) -> None:
        if written.days == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, vendor.plan, on_day=stop)
    assert len(list(tmp_path.glob("statement-*.csv"))) == 2
    simulate(tmp_path, vendor.plan)
    for path in vendor.folder.glob("statement-*.csv"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
