"""A report as a workbook, and the codes of unknown kind that its head names."""

import pandas as pd
import pytest

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.price_list import PriceList
from toolkit.records.parquet import write_parquet
from toolkit.report.build import build_report
from toolkit.report.inputs import ReportOptions, read_inputs
from toolkit.report.write_files import Format, write


def _send(call, code=50000, **changes):
    return call(Endpoint.SEND, code, **changes)


@pytest.fixture
def report(call, tmp_path):
    records = [
        _send(call, started_ns=1_793_966_400_000_000_001 + it, request_id=f"r{it}", code=50000) for it in range(90)
    ]
    records += [_send(call, code=59031, request_id=f"u{it}") for it in range(8)]
    records += [_send(call, code=50105, http_status=500, kind=None, request_id=f"s{it}") for it in range(2)]
    write_parquet(records, tmp_path / "calls.parquet")
    return build_report(read_inputs([tmp_path / "calls.parquet"], ReportOptions(slo="99%")))


def test_the_workbook_has_a_sheet_for_each_table_with_all_rows(report, tmp_path):
    (path,) = write(report, tmp_path / "out", [Format.XLSX])
    sheets = pd.read_excel(path, sheet_name=None)
    assert list(sheets) == ["report", *(table.name for table in report.tables())]
    for table in report.tables():
        assert list(sheets[table.name].columns) == list(table.frame.columns)
        assert len(sheets[table.name]) == len(table.frame)
    assert sheets["return_codes"]["calls"].sum() == 100


def test_the_head_names_the_share_of_codes_of_unknown_kind(report):
    facts = {fact.label: fact.value for fact in report.facts}
    assert facts["return code of unknown kind"] == "8.00 %"
    findings = {section.name: section.finding for section in report.findings()}
    assert "2.00 % of all calls failed" in findings["errors"]
    assert "8.00 % ended with a return code of unknown kind" in findings["errors"]
    assert findings["budget"].startswith("2 calls failed")
    assert findings["budget"].endswith("with 8 calls of unknown kind.")


def test_cost_counts_sends_of_unknown_kind(call):
    frame = analysis.from_records([_send(call, code=59031), _send(call, code=50019), _send(call)])
    row = analysis.cost(frame, PriceList(), by=()).iloc[0]
    assert row[["possibly_charged", "unknown"]].tolist() == [2, 1]
