"""Statements in the forms that vendors send, each compared with the same forty messages."""

from dataclasses import replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

import openpyxl
import pandas as pd
import pytest
from support.priced import MIDNIGHT_NS, SECOND_NS, send

from toolkit import analysis
from toolkit.analysis.billing.statement_file import StatementFormat
from toolkit.api.errors import InputError
from toolkit.price_list import PriceList, PriceRow

PRICES = PriceList((PriceRow(date(2026, 1, 1), Decimal("0.045"), "CNY"),))
SENDS = [send(MIDNIGHT_NS + it * SECOND_NS, 1, 50000, segments=1 + it % 2) for it in range(40)]
CALLS = analysis.from_records(SENDS)
PLAIN = StatementFormat()


def _rows(form="%Y-%m-%d %H:%M:%S"):
    return [
        [
            it.msg_id,
            f"{pd.Timestamp(it.started_ns):{form}}",
            str(it.segments),
            "0.045",
            f"{it.segments * 0.045:.3f}",
            "CNY",
        ]
        for it in SENDS
    ]


ENGLISH = ["msg_id", "sent_at", "segments", "price", "amount", "currency"]
CHINESE = ["消息ID", "发送时间", "计费条数", "单价(元)", "金额(元)"]


def _write(tmp_path, rows, header=ENGLISH, delimiter=",", encoding="utf-8", above="", below="", quote=""):
    lines = [delimiter.join(f"{quote}{cell}{quote}" for cell in row) for row in [header, *rows]]
    path = tmp_path / "statement.csv"
    path.write_bytes((above + "\r\n".join(lines) + "\r\n" + below).encode(encoding))
    return path


def _found(path, given=PLAIN, **how):
    return analysis.reconcile(CALLS, path, PRICES, given=given, **how)


def _is_right(path, given=PLAIN, **how):
    found = _found(path, given, **how)
    assert found.discrepancies.empty
    assert found.summary["messages"].iloc[[0, -1]].tolist() == [40, 40]
    assert found.summary["money"].iloc[:-1].sum() == pytest.approx(found.summary["money"].iloc[-1])
    return found


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_header(delimiter, tmp_path):
    _is_right(_write(tmp_path, _rows(), delimiter=delimiter))


def test_another_delimiter_can_be_given(tmp_path):
    _is_right(_write(tmp_path, _rows(), delimiter="^"), StatementFormat(delimiter="^"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_with_a_byte_order_mark_is_recognized(encoding, tmp_path):
    _is_right(_write(tmp_path, [row[:5] for row in _rows()], CHINESE, encoding=encoding))


def test_gb18030_is_named_or_refused_with_the_line_and_the_cure(tmp_path):
    path = _write(tmp_path, [row[:5] for row in _rows()], CHINESE, encoding="gb18030")
    _is_right(path, StatementFormat(encoding="gb18030"))
    with pytest.raises(InputError, match=r"line 1 is not UTF-8: give the encoding, e\.g\. gb18030 \(--state"):
        _found(path)


def test_other_column_names_may_be_chinese(tmp_path):
    path = _write(tmp_path, _rows(), ["编号", *ENGLISH[1:]])
    _is_right(path, columns={"msg_id": "编号"})
    with pytest.raises(InputError, match="has no column msg_id: name its msg_id column with columns="):
        _found(path)


def test_titles_and_totals_are_left_out(tmp_path):
    above = "某某短信平台 2026年11月账单\r\n客户,测试\r\n\r\n"
    _is_right(_write(tmp_path, _rows(), above=above, below="合计,,60,,2.700,CNY\r\n"))
    with pytest.raises(InputError, match=r"line 45: the total is 2.745, but the lines before it add up to 2.700"):
        _found(_write(tmp_path, _rows(), above=above, below="Total,,,,2.745,\r\n"))


def test_decimal_commas_thousands_and_currency_signs_are_read(tmp_path):
    def german(text):
        return f"€ {text}".replace(".", ",")

    rows = [[*row[:3], german(row[3]), german(row[4]), "EUR"] for row in _rows()]
    rows.append(["big", *rows[0][1:3], "€ 1.234,50", "1.234,50 €", "EUR"])
    given, euros = StatementFormat(decimal=","), PriceList((replace(PRICES.rows[0], currency="EUR"),))
    found = analysis.reconcile(CALLS, _write(tmp_path, rows, quote='"'), euros, given=given)
    assert found.discrepancies["in_dispute"].tolist() == [1234.5]


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ("0,045", r"line 2 can't be read: price is '0,045'.*--statement-decimal ,"),
        ("1,234", r"line 2 can't be read: price is '1,234'.*--statement-decimal"),
        ("$0.045 x", r"line 2 can't be read: price is"),
        ("€0.045", r"line 2 can't be read: price is '€0.045'"),
        ("EUR 0.045", r"line 2 can't be read: price is 'EUR 0.045'"),
    ],
)
def test_a_number_that_may_mean_two_things_is_refused(price, message, tmp_path):
    rows = _rows()
    rows[0][3] = price
    with pytest.raises(InputError, match=message):
        _found(_write(tmp_path, rows, quote='"'))


@pytest.mark.parametrize("sign", ["¥0.045", "￥0.045", "0.045元", "CNY 0.045", "RMB 0.045"])
def test_the_sign_of_the_currency_is_left_out(sign, tmp_path):
    _is_right(_write(tmp_path, [[*row[:3], sign, *row[4:]] for row in _rows()]))


def test_a_statement_without_a_currency_needs_one(tmp_path):
    path = _write(tmp_path, [row[:5] for row in _rows()], ENGLISH[:5])
    _is_right(path, StatementFormat(currency="CNY"))
    with pytest.raises(InputError, match="has no column currency: give it with --statement-currency"):
        _found(path)


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%Y年%m月%d日", "%Y/%m/%d %H:%M", "%Y-%m-%dT%H:%M:%SZ"]
)
def test_days_and_other_forms_of_time_are_read(form, tmp_path):
    _is_right(_write(tmp_path, _rows(form)))


def test_a_day_that_may_be_a_month_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"line 2 can't be read: sent_at is '06/11/2026'"):
        _found(_write(tmp_path, _rows("%d/%m/%Y")))


def test_xlsx_is_read(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["2026-11"])
    book.active.append(CHINESE)
    for it in SENDS:
        at = pd.Timestamp(it.started_ns).to_pydatetime()
        book.active.append([it.msg_id, at, it.segments, 0.045, it.segments * 0.045])
    book.active.append(["合计", None, 60, None, 2.7])
    path = tmp_path / "statement.xlsx"
    book.save(path)
    _is_right(path)
    book.active.append([1_234_567_890_123_456_789, datetime(2026, 11, 6), 1, 0.045, 0.045])
    book.save(path)
    with pytest.raises(InputError, match=r"line 44: the number .* has more than 15 digits.*store message ids as text"):
        _found(path)
    path.write_bytes(b"no workbook")
    with pytest.raises(InputError, match="can't be read: it is not XLSX"):
        _found(path)


def test_amounts_rounded_to_cents_are_compared_to_the_cent(tmp_path):
    def cents(text):
        return str(Decimal(text).quantize(Decimal("0.01"), ROUND_HALF_UP))

    rows = [[*row[:4], cents(row[4]), row[5]] for row in _rows()]
    found = _is_right(_write(tmp_path, rows))
    summary = found.summary.set_index("part").loc["rounding to cents"]
    assert (summary["messages"], summary["money"]) == (20, pytest.approx(20 * 0.005))
    rows[0][4] = "0.06"
    wrong = _found(_write(tmp_path, rows))
    assert wrong.discrepancies["kind"].tolist() == ["wrong amount"]
    assert wrong.summary["money"].iloc[:-1].sum() == pytest.approx(wrong.summary["money"].iloc[-1])


@pytest.mark.parametrize("refund", [["1", "0.045", "-0.045"], ["-1", "0.045", "-0.045"], ["1", "-0.045", "(0.045)"]])
def test_a_refund_is_a_refund(refund, tmp_path):
    rows = [*_rows(), [SENDS[0].msg_id, "2026-11-20 08:00:00", *refund, "CNY"]]
    found = _found(_write(tmp_path, rows))
    assert found.discrepancies["kind"].tolist() == ["refunded"]
    assert found.discrepancies["in_dispute"].tolist() == [-0.045]
    assert found.summary["money"].iloc[:-1].sum() == pytest.approx(found.summary["money"].iloc[-1])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"decimal": "'"}, "invalid statement_decimal"),
        ({"delimiter": ", "}, "invalid statement_delimiter"),
        ({"currency": "yuan"}, "invalid statement_currency"),
        ({"encoding": "gb-18030-x"}, "unknown statement_encoding 'gb-18030-x'"),
        ({"encoding": "base64"}, "unknown statement_encoding 'base64'"),
    ],
)
def test_an_invalid_form_is_refused(option, message):
    with pytest.raises(InputError, match=message):
        StatementFormat(**option)
