"""A call that was recorded again counts once, and a message is billed once; what only looks alike is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest

from toolkit import analysis
from toolkit.analysis.duplicates import leave_out_copies
from toolkit.analysis.sources.read import read
from toolkit.price_list import PriceList, PriceRow, Unit
from toolkit.records.call_record import hash64
from toolkit.records.parquet import write_parquet
from toolkit.report.build import build_report
from toolkit.report.inputs import read_inputs

NOON_NS = 1_793_966_400_000_000_000
PRICES = PriceList((PriceRow(date(2026, 1, 1), Decimal("0.045"), "CNY"),), unit=Unit.SEND)


@pytest.fixture
def records(call):
    """A hundred sends to ten mobiles, each with two verifies, of which the second succeeds."""
    found = []
    for number in range(100):
        ids = {"msg_id": f"m{number}", "msg_key": hash64(f"m{number}"), "app_key": "a"}
        at_ns = NOON_NS + number * 10**9 + 17
        found.append(call(started_ns=at_ns, mobile_key=number % 10, prefix="1380013", temp_id=1, **ids))
        found += [call("verify", code, started_ns=at_ns + 5_000_003, **ids) for code in (50010, 50000)]
        found[-1] = replace(found[-1], started_ns=at_ns + 9_000_003)
    return found


def _write(records, path):
    path.write_text("".join(json.dumps(asdict(it)) + "\n" for it in records), encoding="utf-8")
    return path


def _figures(calls):
    costs = analysis.cost(calls, PRICES, by=()).iloc[0]
    return len(analysis.from_frame(calls) if isinstance(calls, pd.DataFrame) else calls), *costs[
        ["sends", "money", "resent", "verified"]
    ]


@pytest.mark.parametrize("copies", [1, 37, 300])
def test_lines_that_a_log_shipper_delivered_twice_count_once(records, copies, tmp_path):
    log = _write(records + records[:copies], tmp_path / "calls.jsonl")
    once, twice = read(_write(records, tmp_path / "once.jsonl")), read(log)
    assert (twice.copies, once.copies) == (copies, 0)
    assert _figures(twice) == _figures(once) == (300, 100, pytest.approx(4.5), 90, 100)
    assert f"{copies} recorded again and left out" in repr(twice)
    remarks = build_report(read_inputs([log])).remarks
    assert any(f"{copies} call{'' if copies == 1 else 's'} w" in it for it in remarks)


def test_a_frame_with_copies_gives_the_same_answers(records):
    once, twice = analysis.from_records(records), analysis.from_records(records * 2)
    assert analysis.from_frame(twice).copies == 300
    for ask in (analysis.return_codes, analysis.errors, analysis.suspects, analysis.limits, analysis.latency):
        pd.testing.assert_frame_equal(ask(twice), ask(once))


def test_large_tables_are_searched_in_parts(records, tmp_path):
    write_parquet(records * 2, tmp_path / "calls.parquet")
    (tmp_path / "run.json").write_text('{"schema": 2}')  # so that reading leaves the copies in
    assert leave_out_copies(read(tmp_path).table, part_calls=50).copies == 300


def test_the_same_file_under_another_name_is_left_out(records, tmp_path):
    first = _write(records, tmp_path / "a.jsonl")
    shutil.copy(first, tmp_path / "b.jsonl")
    calls = read(tmp_path)
    assert len(calls) == 300
    assert calls.same_files == (f"{tmp_path / 'b.jsonl'} (the same as {first})",)
    assert any("left out" in it for it in build_report(read_inputs([tmp_path])).remarks)


def test_verifies_of_a_log_of_whole_seconds_that_look_alike_are_kept(call, tmp_path):
    ids = {"msg_id": "m1", "msg_key": hash64("m1")}
    guesses = [call("verify", 50010, started_ns=NOON_NS, **ids) for _ in range(3)]
    sends = [call(started_ns=NOON_NS, code=50009, app_key="a") for _ in range(3)]
    calls = read(_write(guesses + sends, tmp_path / "calls.jsonl"))
    assert (len(calls), calls.copies) == (6, 0)


def test_the_request_id_tells_calls_apart_that_began_together(call, tmp_path):
    refused = [call(code=50009, started_ns=NOON_NS + 1, request_id=f"r{it}") for it in (1, 1, 2)]
    calls = read(_write(refused, tmp_path / "calls.jsonl"))
    assert (len(calls), calls.copies) == (2, 1)


def test_a_message_in_the_clients_and_the_services_records_is_billed_once(records, tmp_path):
    served = [replace(it, source="service", started_ns=it.started_ns + 1_000_001) for it in records]
    calls = read(_write(records, tmp_path / "client.jsonl"), _write(served, tmp_path / "service.jsonl"))
    assert (len(calls), calls.copies) == (600, 0)
    assert analysis.return_codes(calls)["calls"].sum() == 600
    costs = analysis.cost(calls, PRICES, by=()).iloc[0]
    assert (costs["accepted"], costs["money"], costs["resent"]) == (100, pytest.approx(4.5), 90)
    assert analysis.forecast(calls, PRICES)["messages"].tolist() == [100]


def test_a_statement_adds_up_though_records_are_doubled(records, tmp_path):
    served = [replace(it, source="service", started_ns=it.started_ns + 1_000_001) for it in records]
    calls = read(_write(records * 2 + served, tmp_path / "calls.jsonl"))
    lines = [(f"m{it}", "2026-11-06T12:00:00Z", "1", "0.045", "0.045", "CNY") for it in range(100)]
    bill = pd.DataFrame(lines, columns=["msg_id", "sent_at", "segments", "price", "amount", "currency"])
    found = analysis.reconcile(calls, bill, PRICES)
    assert found.discrepancies.empty
    summary = found.summary.set_index("part")
    assert summary.loc["records", "messages"] == summary.loc["statement", "messages"] == 100
    assert summary.loc["records", "money"] == summary.loc["statement", "money"] == pytest.approx(4.5)


def test_the_calls_of_a_load_test_are_not_searched(records, tmp_path):
    write_parquet(records * 2, tmp_path / "calls.parquet")
    assert read(tmp_path).copies == 300
    (tmp_path / "run.json").write_text('{"schema": 2}')
    assert (read(tmp_path).copies, len(read(tmp_path))) == (0, 600)
