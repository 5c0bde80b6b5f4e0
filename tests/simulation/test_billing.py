"""The analysis of simulated statements finds the same amounts, except for the injected errors."""

from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from support.simulated import Simulated

from toolkit import analysis
from toolkit.analysis import Discrepancy
from toolkit.price_list import PriceList
from toolkit.settings import load_prices

KINDS = {
    "statement_missing": Discrepancy.NOT_BILLED,
    "statement_unknown": Discrepancy.NOT_RECORDED,
    "statement_segments": Discrepancy.SEGMENTS,
    "statement_price": Discrepancy.PRICE,
    "statement_duplicate": Discrepancy.TWICE,
}


@pytest.fixture(scope="module")
def prices(simulated: Simulated) -> PriceList:
    return load_prices(simulated.folder / "prices.toml")


def test_reconcile_finds_each_injected_error_and_nothing_else(simulated: Simulated, prices: PriceList) -> None:
    (statement,) = simulated.folder.glob("statement-*.csv")
    found = analysis.reconcile(analysis.read(simulated.folder), statement, prices).discrepancies
    labels = [label for label in simulated.labels if label["kind"] in KINDS]
    planted = {(KINDS[label["kind"]], label["msg_id"], _in_dispute(label["changed"])) for label in labels}
    assert set(zip(found["kind"], found["msg_id"], map(exact, found["in_dispute"]), strict=True)) == planted
    assert len(found) == len(labels) == len(KINDS)


def exact(money: float) -> Decimal:
    """Return an amount, which the analysis rounds to the millionth, as the decimal that it stands for."""
    return Decimal(f"{money:.6f}")


def _in_dispute(changed: dict[str, dict[str, str] | None]) -> Decimal:
    due, stated = (Decimal(it["amount"]) if it else Decimal(0) for it in (changed["due"], changed["stated"]))
    return stated if due == stated else stated - due


def test_the_statement_is_the_cost_of_the_records_plus_the_amount_in_dispute(
    simulated: Simulated, prices: PriceList
) -> None:
    calls = analysis.read(simulated.folder)
    (statement,) = simulated.folder.glob("statement-*.csv")
    summary = analysis.reconcile(calls, statement, prices).summary.set_index("part")["money"]
    (total,) = analysis.cost(calls, prices, by=())["money"]
    lines = pd.read_csv(statement, dtype="str")
    assert exact(summary["records"]) == exact(total)
    assert exact(summary["statement"]) == sum(map(Decimal, lines["amount"]))
    assert exact(summary["statement"]) == exact(total + summary.iloc[1:-1].sum())


def test_every_message_has_a_price_and_the_price_change_shows(simulated: Simulated, prices: PriceList) -> None:
    costs = analysis.cost(analysis.read(simulated.folder), prices, by=("day", "temp_id", "carrier"))
    assert costs["unpriced"].sum() == 0
    codes = costs[(costs["template_type"] == "code") & (costs["carrier"] == "China Mobile") & (costs["segments"] > 0)]
    paid = {
        day: {exact(money / count) for money, count in zip(it["money"], it["segments"], strict=True)}
        for day, it in codes.groupby("day")
    }
    changed = pd.Timestamp(simulated.label("price_change")["started"])
    assert {it for day, each in paid.items() if day < changed for it in each} == {Decimal("0.045")}
    assert {it for day, each in paid.items() if day >= changed for it in each} == {Decimal("0.049")}
