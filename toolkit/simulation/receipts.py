"""Convert the deliveries of a day's messages to an Arrow table of the carriers' receipts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.simulation import call_outcomes, msg_ids
from toolkit.simulation.arrow_tables import category_array, string_array
from toolkit.simulation.call_arrays import Rows
from toolkit.simulation.deliveries import CODES, NEVER_NS
from toolkit.simulation.plan import SimulationPlan, random_stream
from toolkit.simulation.prefixes import MARKET_SHARES

RECEIPT_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["carrier", "state", "carrier_code"],
    "column_encoding": {"sent_ns": "DELTA_BINARY_PACKED", "received_ns": "DELTA_BINARY_PACKED"},
}
_STATES = ("delivered", "failed")  # as in toolkit.service
_RANGES_S = np.array([it.receipt_s for it in CODES])
_HAS_RECEIPT = np.array([it.code is not None for it in CODES])


def to_receipts(plan: SimulationPlan, day_number: int, sends: Rows, carriers: NDArray[np.int8]) -> pa.Table:
    """Return the receipts for the accepted sends of a day, in the order of the sends.

    Args:
        plan: The plan.
        day_number: The day, counted from 0.
        sends: SEND rows.
        carriers: The carrier of each prefix.

    Returns:
        A table with the columns msg_id (string), sent_ns (int64), received_ns (int64, the time of the receipt),
        carrier, state and carrier_code (dictionaries). A few messages have no receipt.
    """
    sent = sends[(sends["outcome"] == call_outcomes.SUCCESS) & _HAS_RECEIPT[sends["carrier_code"]]]
    codes, answered_ns = sent["carrier_code"], sent["started_ns"] + sent["latency_ns"]
    arrives = sent["delay_ns"] != NEVER_NS
    shortest_s, longest_s = _RANGES_S[codes].T
    chance = random_stream(plan, "receipts", day_number).random(len(sent))
    report_ns = (shortest_s * (longest_s / shortest_s) ** chance * 1e9).astype(np.int64)  # log-uniform
    columns = {
        "msg_id": string_array(msg_ids.to_ascii(sent["msg_high"], sent["msg_low"])).cast(pa.string()),
        "sent_ns": pa.array(sent["started_ns"]),
        "received_ns": pa.array(answered_ns + np.where(arrives, sent["delay_ns"], 0) + report_ns),
        "carrier": category_array(carriers[sent["prefix"]], list(MARKET_SHARES)),
        "state": category_array(~arrives, _STATES),
        "carrier_code": category_array(codes, [str(it.code) for it in CODES]),
    }
    return pa.table(columns)
