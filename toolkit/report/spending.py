"""Spending: how many messages a run may have been charged for, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import pandas as pd

from toolkit.api.wire import Endpoint
from toolkit.masking import Json
from toolkit.records.call_record import may_cost


def spent(codes: pd.DataFrame, settings: Mapping[str, object]) -> dict[str, Json]:
    """Return messages, cost and currency, of ``analysis.return_codes`` and the settings' price.

    The cost is exact, a decimal number as text; it and the currency are None without a price.
    """
    messages = charged(codes)
    price = _read_price(settings.get("price_per_send"))
    cost = None if price is None else f"{messages * price:f}"
    return {"messages": messages, "cost": cost, "currency": None if price is None else str(settings.get("currency"))}


def charged(codes: pd.DataFrame) -> int:
    """Count the sends that may have been charged for: those not certainly free, as refused or never sent."""
    rows = codes.to_dict("records")
    return sum(int(row["calls"]) for row in rows if may_cost(Endpoint(row["endpoint"]), _outcome(row)))


def _outcome(row: Mapping[Any, Any]) -> int | str:
    return str(row["error"]) if pd.isna(row["return_code"]) else int(row["return_code"])


def _read_price(price: object) -> Decimal | None:
    try:
        return None if price is None else Decimal(str(price))
    except InvalidOperation:
        return None
