import gzip
import inspect
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import ENGINES, OPEN
from support.priced import MIDNIGHT_NS, SECOND_NS, amount, send

from toolkit import analysis
from toolkit.analysis import Discrepancy
from toolkit.api.errors import InputError
from toolkit.price_list import PricedTemplate, PriceList, PriceRow, Unit
from toolkit.records.parquet import write_parquet

LONG_AGO = date(2026, 1, 1)
HEADER = "msg_id,sent_at,segments,price,amount,currency"
PRICES = PriceList(
    (
        PriceRow(LONG_AGO, Decimal("0.045"), "CNY"),
        PriceRow(LONG_AGO, Decimal("0.05"), "CNY", "notice", "China Unicom"),
    ),
    (PricedTemplate(1, "code"), PricedTemplate(2, "notice", 2)),
)
MONTH_NS = 30 * 86_400 * SECOND_NS
SENDS = [
    send(MIDNIGHT_NS + it * SECOND_NS, 1 + it % 3, 50000, temp_id=1 + it % 2, segments=1 + it % 2) for it in range(40)
]


def _line(call, of=PRICES):
    """Return what a right statement says of a message."""
    segments, due = amount(call, of)
    sent_at = str(pd.Timestamp(call.started_ns, tz="UTC")).replace("+00:00", "Z").replace(" ", "T")
    return [call.msg_id, sent_at, str(segments), str(due / segments), str(due), "CNY"]


LINES = [_line(it) for it in SENDS]


def _write(path, lines, header=HEADER):
    path.write_text("\n".join([header, *(",".join(line) for line in lines)]) + "\n")
    return path


@pytest.fixture
def statement(tmp_path):
    return lambda lines, header=HEADER: _write(tmp_path / "statement.csv", lines, header)


def _reconcile(lines, calls=None, prices=PRICES, **how):
    frame = pd.DataFrame(lines, columns=HEADER.split(","), dtype="str")
    return analysis.reconcile(analysis.from_records(SENDS) if calls is None else calls, frame, prices, **how)


def _found(reconciliation):
    frame = reconciliation.discrepancies
    return list(zip(frame["kind"], frame["msg_id"], frame["in_dispute"], strict=True))


def _changed(lines, place, **fields):
    changed = [list(line) for line in lines]
    for name, value in fields.items():
        changed[place][HEADER.split(",").index(name)] = value
    return changed


def _plant_all(lines):
    """Plant each kind once, at the places 1 to 6, and return what is to be found."""
    planted = _changed(lines, 2, segments="2", amount="0.09")
    planted = _changed(planted, 4, price="0.055", amount="0.055")
    planted = _changed(planted, 6, amount="0.04")
    planted += [planted[8], ["unknown", "2026-11-06T08:00:00Z", "1", "0.045", "0.045", "CNY"]]
    del planted[10]
    return planted, {
        (Discrepancy.SEGMENTS, SENDS[2].msg_id, 0.045),
        (Discrepancy.PRICE, SENDS[4].msg_id, 0.010),
        (Discrepancy.AMOUNT, SENDS[6].msg_id, -0.005),
        (Discrepancy.TWICE, SENDS[8].msg_id, 0.045),
        (Discrepancy.NOT_BILLED, SENDS[10].msg_id, -0.045),
        (Discrepancy.NOT_RECORDED, "unknown", 0.045),
    }


@pytest.mark.xdist_group("spark")
@pytest.mark.parametrize("engine", ENGINES)
def test_each_planted_discrepancy_is_found_and_nothing_else(engine, tmp_path, statement):
    write_parquet(SENDS, tmp_path / "calls.parquet")
    lines, planted = _plant_all(LINES)
    found = analysis.reconcile(OPEN[engine](str(tmp_path / "calls.parquet")), statement(lines), PRICES)
    assert set(_found(found)) == planted
    assert len(found.discrepancies) == len(planted)
    from_pandas = _reconcile(lines)
    pd.testing.assert_frame_equal(found.discrepancies, from_pandas.discrepancies)
    pd.testing.assert_frame_equal(found.summary, from_pandas.summary)


def test_a_correct_statement_has_no_discrepancies_and_equal_totals():
    found = _reconcile(LINES)
    assert found.discrepancies.empty
    total = float(sum(Decimal(line[4]) for line in LINES))
    ends = found.summary.iloc[[0, -1]]
    assert ends["part"].tolist() == ["records", "statement"]
    assert ends["messages"].tolist() == [40, 40]
    assert ends["money"].tolist() == pytest.approx([float(total)] * 2)


def test_a_discrepancy_shows_the_values_of_both_sides():
    row = _reconcile(_plant_all(LINES)[0]).discrepancies.set_index("kind").loc["different segments"]
    assert (row["segments"], row["price"], row["amount"]) == (1, 0.045, 0.045)
    assert (row["billed_segments"], row["billed_price"], row["billed_amount"]) == (2, 0.045, 0.09)
    assert (row["sent_at"], row["currency"]) == (pd.Timestamp(SENDS[2].started_ns, tz="UTC"), "CNY")


def test_a_correct_bill_of_a_beijing_month_has_no_discrepancies():
    hours = pd.date_range("2026-10-31", "2026-12-02", freq="h", tz="Asia/Shanghai")
    calls = [send(int(it.as_unit("ns").value), 1, 50000, msg_id=f"m{at}") for at, it in enumerate(hours)]
    prices = PriceList(tuple(PriceRow(date(2026, month, 1), Decimal(month), "CNY") for month in (1, 11, 12)))
    lines = [
        [call.msg_id, f"{it:%Y-%m-%d %H:%M:%S}", "1", "11", "11", "CNY"]
        for call, it in zip(calls, hours, strict=True)
        if it.month == 11
    ]
    frame = analysis.from_records(calls)
    found = _reconcile(lines, frame, prices, timezone="Asia/Shanghai")
    assert found.discrepancies.empty
    assert found.summary["messages"].iloc[[0, -1]].tolist() == [30 * 24, 30 * 24]
    assert not _reconcile(lines, frame, prices).discrepancies.empty


@pytest.mark.parametrize("timezone", ["Asia/Shanghai", "Europe/Berlin"])
def test_the_times_of_a_statement_are_read_in_its_time_zone(timezone):
    stamps = pd.to_datetime(["2026-10-24T12:00", "2026-10-25T12:00"]).tz_localize(timezone)
    lines = [[f"x{it.day}", f"{it:%Y-%m-%d %H:%M}", "1", "0.045", "0.045", "CNY"] for it in stamps]
    found = _reconcile(lines, timezone=timezone, since="2026-10-01").discrepancies
    assert found[found["kind"] == "missing in the records"]["sent_at"].tolist() == stamps.tolist()


_MONEY = st.sampled_from(["0", "0.04", "0.045", "0.05", "0.0451", "1", "-0.045"])
_edits = st.lists(
    st.one_of(
        st.tuples(st.just("drop"), st.integers(0, 39), st.just("")),
        st.tuples(st.just("repeat"), st.integers(0, 39), st.just("")),
        st.tuples(st.just("unknown"), st.integers(0, 39), st.sampled_from(["x", "y"])),
        st.tuples(st.just("segments"), st.integers(0, 39), st.sampled_from("123")),
        st.tuples(st.just("price"), st.integers(0, 39), _MONEY.filter(lambda it: "-" not in it)),
        st.tuples(st.just("amount"), st.integers(0, 39), _MONEY),
    ),
    max_size=12,
)


def _edit(edits):
    lines = dict(enumerate([list(it)] for it in LINES))
    for what, place, value in edits:
        if what == "drop":
            lines[place] = []
        elif what == "repeat":
            lines[place] = lines[place] * 2
        elif what == "unknown":
            lines[100 + place] = [[value, *LINES[place][1:]]]
        else:
            lines[place] = [_changed([it], 0, **{what: value})[0] for it in lines[place]]
    return [line for of_message in lines.values() for line in of_message]


@settings(max_examples=25)
@given(edits=_edits, unit=st.sampled_from(Unit))
def test_discrepancies_are_those_of_a_plain_comparison_and_add_up_to_the_difference_of_the_totals(edits, unit):
    lines = _edit(edits)
    found = _reconcile(lines, prices=replace(PRICES, unit=unit))
    by_id = {it.msg_id: [] for it in SENDS}
    for line in lines:
        by_id.setdefault(line[0], []).append(line)
    expected = {(msg_id, kind) for msg_id, of_message in by_id.items() for kind in _compare(of_message, msg_id, unit)}
    frame = found.discrepancies
    assert set(zip(frame["msg_id"], frame["kind"], strict=True)) == expected
    money = found.summary.set_index("part")["money"]
    assert money["statement"] == pytest.approx(money["records"] + frame["in_dispute"].sum())
    assert money["statement"] == pytest.approx(money.iloc[:-1].sum())
    assert found.summary["messages"].iloc[1:-1].sum() == len(frame)


def _compare(lines, msg_id, unit):
    due = next((it for it in LINES if it[0] == msg_id), None)
    charges = [it for it in lines if "-" not in it[4]]
    refunded = {Discrepancy.REFUNDED} if len(charges) < len(lines) else set()
    if not charges:
        return refunded | ({Discrepancy.NOT_BILLED} if due else set())
    lines = charges
    twice = {Discrepancy.TWICE} if len(lines) > 1 else set()
    return refunded | twice | ({Discrepancy.NOT_RECORDED} if due is None else _fields(lines[0], due, unit))


def _fields(line, due, unit):
    units = 1 if unit is Unit.SEND else int(line[2])
    return {
        kind
        for kind, differs in (
            (Discrepancy.SEGMENTS, line[2] != due[2]),
            (Discrepancy.PRICE, Decimal(line[3]) != Decimal(due[3])),
            (Discrepancy.AMOUNT, Decimal(line[4]) != units * Decimal(line[3])),
        )
        if differs
    }


def test_two_lines_of_a_message_billed_three_times_are_in_dispute():
    dear = _changed([LINES[0]], 0, price="0.055", amount="0.055")
    found = _reconcile([*dear, *LINES, LINES[0]])
    twice = [(Discrepancy.TWICE, SENDS[0].msg_id, it) for it in (0.045, 0.055)]
    assert sorted(_found(found)) == twice


def test_a_message_recorded_twice_is_one_message():
    calls = analysis.from_records([*SENDS, SENDS[0]])
    assert _reconcile(LINES, calls).discrepancies.empty


def test_without_a_price_list_prices_are_not_compared():
    lines, planted = _plant_all(LINES)
    found = _found(_reconcile(lines, prices=None))
    unpriced = {(kind, msg_id) for kind, msg_id, _ in planted if kind != Discrepancy.PRICE}
    assert {(kind, msg_id) for kind, msg_id, _ in found} == unpriced
    (unknown,) = [money for kind, _, money in found if kind == Discrepancy.NOT_BILLED]
    assert pd.isna(unknown)


def test_the_records_have_no_total_if_a_message_has_no_known_price():
    of_one_template = PriceList((replace(PRICES.rows[0], template_type="code"),), PRICES.templates)
    for prices in (None, PriceList(()), of_one_template):
        summary = _reconcile(LINES, prices=prices).summary.set_index("part")
        assert pd.isna(summary.loc["records", "money"])
        assert summary.loc["records", "messages"] == len(SENDS)


def test_unknown_segments_are_not_compared():
    calls, one = analysis.from_records([replace(it, segments=None) for it in SENDS]), PriceList(PRICES.rows[:1])
    lines = [_line(it, one) for it in SENDS]
    assert _reconcile(lines, calls, one).discrepancies.empty
    dear = _changed(lines, 1, price="0.055", amount="0.11")
    assert _found(_reconcile(dear, calls, one)) == [(Discrepancy.PRICE, SENDS[1].msg_id, 0.02)]


def test_segments_of_the_template_are_compared():
    calls = analysis.from_records([replace(it, segments=None) for it in SENDS])
    assert _reconcile(LINES, calls).discrepancies.empty
    wrong = _changed(LINES, 1, segments="3", amount="0.15")
    assert [it[0] for it in _found(_reconcile(wrong, calls))] == [Discrepancy.SEGMENTS]


def test_the_price_of_a_send_is_for_all_its_segments():
    of_send = PriceList(PRICES.rows[:1], PRICES.templates, Unit.SEND)
    lines = [[*line[:3], "0.045", "0.045", "CNY"] for line in LINES]
    assert _reconcile(lines, prices=of_send).discrepancies.empty
    wrong = _changed(lines, 0, segments="2")
    assert _found(_reconcile(wrong, prices=of_send)) == [(Discrepancy.SEGMENTS, SENDS[0].msg_id, 0)]


def test_only_messages_of_the_period_are_missing_in_the_statement():
    calls = [*SENDS, send(MIDNIGHT_NS - MONTH_NS, 1, 50000), send(MIDNIGHT_NS + MONTH_NS, 1, 50000)]
    assert _reconcile(LINES, analysis.from_records(calls)).discrepancies.empty
    found = _reconcile(LINES, analysis.from_records(calls), since="2026-10-01", until="2026-11-06T00:00:05")
    assert _found(found) == [(Discrepancy.NOT_BILLED, calls[-2].msg_id, -0.045)]
    assert found.summary["messages"].tolist()[0] == 6


def test_a_line_is_matched_with_a_record_of_another_month():
    early = send(MIDNIGHT_NS - MONTH_NS, 1, 50000)
    calls = analysis.from_records([*SENDS, early])
    assert _reconcile([*LINES, _line(early)], calls).discrepancies.empty


def test_refused_sends_timeouts_and_verifies_are_not_messages():
    others = [send(MIDNIGHT_NS + 1, 1, 50009), send(MIDNIGHT_NS + 2, 1, None)]
    assert _reconcile(LINES, analysis.from_records([*SENDS, *others])).discrepancies.empty


def test_columns_may_have_other_names_and_extra_columns_are_ignored(statement):
    lines = [["x", *line] for line in LINES]
    path = statement(lines, "note,编号,time,segments,price,amount,currency")
    columns = {"msg_id": "编号", "sent_at": "time"}
    calls = analysis.from_records(SENDS)
    assert analysis.reconcile(calls, path, PRICES, columns=columns).discrepancies.empty
    with pytest.raises(InputError, match="has no column msg_id: name its msg_id column with columns="):
        analysis.reconcile(calls, path, PRICES)
    with pytest.raises(InputError, match=r"unknown column 'id' of a statement \(choose from msg_id, sent_at"):
        analysis.reconcile(calls, path, PRICES, columns={"id": "编号"})


@pytest.mark.parametrize(
    "sent_at", ["2026-11-06 08:00:00", "2026-11-06T16:00+08:00", "2026-11-06T08:00:00.5Z", "2026-11-06 03:30:00-0430"]
)
def test_a_time_without_an_offset_is_utc(sent_at):
    found = _reconcile([*LINES, ["unknown", sent_at, "1", "0.045", "0.045", "CNY"]])
    assert found.discrepancies["sent_at"].dt.floor("s").tolist() == [pd.Timestamp("2026-11-06 08:00", tz="UTC")]


def test_statements_may_be_compressed_or_start_with_a_byte_order_mark(tmp_path):
    text = "\r\n".join([HEADER, *(",".join(line) for line in LINES), "", ""])
    (tmp_path / "marked.csv").write_bytes(text.encode("utf-8-sig"))
    (tmp_path / "small.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("marked.csv", "small.csv.gz"):
        assert analysis.reconcile(analysis.from_records(SENDS), tmp_path / name, PRICES).discrepancies.empty


def test_a_numeric_id_stays_text(statement):
    call = replace(SENDS[0], msg_id="007")
    found = analysis.reconcile(analysis.from_records([call]), statement([_line(call)]), PRICES)
    assert found.discrepancies.empty
    found = analysis.reconcile(analysis.from_records([call]), statement([["7", *LINES[0][1:]]]), PRICES)
    assert found.discrepancies["msg_id"].tolist() == ["007", "7"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"segments": "1.5"}, "segments is '1.5', expected a whole number from 1 to 99"),
        ({"segments": "0"}, "segments is '0'"),
        ({"price": "free"}, "price is 'free', expected a decimal of at least 0, such as 0.045"),
        ({"price": "-0.045"}, "price is '-0.045'"),
        ({"price": "1e-3"}, "price is '1e-3'"),
        ({"amount": ""}, "amount is '', expected a decimal, such as 0.045"),
        ({"amount": "nan"}, "amount is 'nan'"),
        ({"msg_id": " "}, "msg_id is ' ', expected a message id"),
        ({"sent_at": "yesterday"}, "sent_at is 'yesterday', expected a time, such as 2026-11-01T08:00:00Z"),
        ({"sent_at": "2026-11-31 08:00:00"}, "sent_at is '2026-11-31 08:00:00'"),
        ({"sent_at": "13800138000"}, "sent_at is '1380013\\*\\*\\*\\*'"),
        ({"currency": "yuan"}, "currency is 'yuan', expected an ISO 4217 code, such as CNY"),
    ],
)
def test_an_unreadable_line_is_named_with_the_reason(fields, said, statement):
    lines = [*LINES[:7], [""], *_changed(LINES[7:], 3, **fields)]
    with pytest.raises(InputError, match=rf"statement\.csv line 13 can't be read: {said}"):
        analysis.reconcile(analysis.from_records(SENDS), statement(lines), PRICES)
    with pytest.raises(InputError, match=f"the DataFrame row 11 can't be read: {said}"):
        _reconcile(_changed(LINES, 10, **fields))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEADER}\n{','.join(LINES[0])}\n{','.join(LINES[1])},more\n", "line 3 has more than 6 fields"),
        (f"{HEADER}\na,b\n", "line 2 can't be read: sent_at is 'b'"),
        (
            f'{HEADER}\n"a\nb",{",".join(LINES[0][1:])}\n',
            "line 2 has a field with a line break",
        ),
        ("", "has no header: its first line must name its columns, each once"),
        ("a,a\n", "has no column msg_id"),
        (f"msg_id,{HEADER}\n", "must name its columns, each once, not msg_id twice"),
        ("id,b\n", "has no column msg_id: name its msg_id column with columns="),
    ],
)
def test_an_invalid_csv_file_is_an_input_error(text, said, tmp_path):
    (tmp_path / "statement.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        analysis.reconcile(analysis.from_records(SENDS), tmp_path / "statement.csv", PRICES)


def test_bytes_that_are_not_utf_8_are_an_input_error(tmp_path):
    (tmp_path / "statement.csv").write_bytes(f"{HEADER}\n".encode() + b"\xff\xfe,x\n")
    with pytest.raises(InputError, match=r"statement\.csv can't be read: line 2 is not UTF-8: give the encoding"):
        analysis.reconcile(analysis.from_records(SENDS), tmp_path / "statement.csv", PRICES)


@pytest.mark.parametrize("statement", ["nowhere.csv", 5, None])
def test_an_object_that_is_no_statement_is_an_input_error(statement):
    reason = r"nowhere\.csv doesn.t exist|is not a statement: give a CSV file's path or a frame"
    with pytest.raises(InputError, match=reason):
        analysis.reconcile(analysis.from_records(SENDS), statement, PRICES)


def test_a_statement_in_another_currency_or_in_two_is_an_input_error():
    with pytest.raises(InputError, match="the statement is in EUR, but the prices are in CNY"):
        _reconcile([[*line[:5], "EUR"] for line in LINES])
    with pytest.raises(InputError, match="is in CNY and EUR, which can't be added up: split it by currency"):
        _reconcile(_changed(LINES, 0, currency="EUR"))


def test_a_statement_without_lines_needs_a_period(statement):
    calls = analysis.from_records(SENDS)
    with pytest.raises(InputError, match="has no lines: give its period with since and until"):
        analysis.reconcile(calls, statement([]), PRICES)
    found = analysis.reconcile(calls, statement([]), PRICES, since="2026-11-01", until="2026-12-01")
    assert set(found.discrepancies["kind"]) == {"missing in the statement"}
    assert len(found.discrepancies) == len(SENDS)


def test_no_discrepancies_give_no_rows_and_the_same_columns():
    none, some = _reconcile(LINES), _reconcile(_plant_all(LINES)[0])
    for name in ("discrepancies", "summary"):
        dtypes = [getattr(it, name).dtypes.astype(str).to_dict() for it in (none, some)]
        assert dtypes[0] == dtypes[1]
        assert "object" not in dtypes[0].values()


def test_a_statement_of_another_app_is_refused_before_it_is_fetched(tmp_path):
    assert inspect.signature(analysis.reconcile).parameters["max_discrepancies"].default == 1_000_000
    tail = ",".join(LINES[0][1:])
    (tmp_path / "statement.csv").write_text(f"{HEADER}\n" + "".join(f"{it},{tail}\n" for it in range(5_001)))
    with pytest.raises(InputError, match="more than 5,000 messages differ"):
        analysis.reconcile(analysis.from_records(SENDS), tmp_path / "statement.csv", PRICES, max_discrepancies=5_000)
