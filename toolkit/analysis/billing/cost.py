"""Costs: what messages cost, by day, app, template and carrier, and what of it came to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.pricing import DAY_NS, decimals, needs_carrier, price, to_money
from toolkit.analysis.calls_table import IS_SEND, IS_SUCCESS, IS_VERIFY, IntoCalls, LazyTable, collect, lazy
from toolkit.analysis.carriers import locate
from toolkit.analysis.native_ops import with_previous
from toolkit.analysis.timestamps import NS_PER_S, to_utc
from toolkit.api.errors import InputError
from toolkit.api.return_codes import FREE_REFUSALS, ReturnCode
from toolkit.price_list import Prices
from toolkit.records.call_record import Failure

BY = ("day", "app_key", "temp_id", "carrier")
RESENT_WITHIN_NS = 300 * NS_PER_S

_FREE_CODES = [int(row) for row in ReturnCode if row.kind in FREE_REFUSALS]

_MESSAGES = ("accepted", "wasted", "resent")  # each with its money, and how many of them have no price
_SUMS = (
    "segments",
    "billed",
    "verified",
    *(name + part for name in _MESSAGES for part in ("", "_unpriced", "_micros")),
)
_OTHERS = ("refused", "possibly_charged")
_COLUMNS = (
    *("sends", "accepted", "segments", "billed", "unpriced", "money", "currency", "verified", "conversion"),
    *("wasted", "wasted_money", "resent", "resent_money", "refused", "possibly_charged"),
    *("verified_users", "money_per_verified_user"),
)
_NEEDED = [
    *("started_ns", "endpoint", "return_code", "error", "app_key", "mobile_key", "prefix", "temp_id", "segments"),
    "msg_key",
]
_ONE, _NONE = nw.lit(1, nw.Int64), nw.lit(0, nw.Int64)


def cost(calls: IntoCalls, prices: Prices, by: Sequence[str] = BY) -> pd.DataFrame:
    """Count sends and add up what they cost, in groups by day, app, template and carrier, or by some of these.

    Days are UTC days. A message is of the day, template and carrier of its send, whenever it was verified.

    One row per group; columns: those of ``by``: day (UTC, datetime64[ns, UTC]), app_key (category), temp_id (Int64),
    carrier (category, null where unknown); template_type (category, null where unknown; with temp_id); sends (calls,
    int64); accepted (messages, int64); segments (the record's; else the template's; else 1, int64), of them billed
    (with a price) and unpriced (without one, int64); money (of those billed, decimal, null where none of them is);
    currency (category); verified (messages with a right code, int64); conversion (verified / accepted, 0..1, float64);
    wasted (messages without a right code, int64) and wasted_money (decimal); resent (accepted within 5 minutes after
    another accepted send of the same app and mobile, int64) and resent_money (decimal); refused (sends that were
    certainly free, int64); possibly_charged (sends of which nobody knows, as after a timeout, int64); verified_users
    (distinct mobiles with a right code, int64); money_per_verified_user (decimal).
    """
    keys = _check(by)
    table = lazy(calls, "msg_key").select(_NEEDED)
    sends = sends_of(table).with_columns(everything=_ONE)
    if "carrier" in keys or needs_carrier(prices):
        sends = locate(sends, "carrier")
    names = ["day_ns" if name == "day" else name for name in keys] or ["everything"]
    accepted = _sum_accepted(_trace(price(sends.filter(IS_SUCCESS), prices), table), names)
    others = _sum_others(sends.filter(_is_refused_or_lost()), names)
    sums = collect(nw.concat([accepted, others])).groupby(names, observed=True, dropna=False).sum().reset_index()
    return _show(sums, keys, prices)


def sends_of(table: LazyTable) -> LazyTable:
    """Return the sends among calls, each with the start of its UTC day, day_ns."""
    return table.filter(IS_SEND).with_columns(day_ns=nw.col("started_ns") - nw.col("started_ns") % DAY_NS)


def _is_refused_or_lost() -> nw.Expr:
    return ~IS_SUCCESS.fill_null(False)


def _is_free() -> nw.Expr:
    was_refused = nw.col("return_code").fill_null(0).is_in(_FREE_CODES)
    return was_refused | (nw.col("error").cast(nw.String).fill_null("") == Failure.CONNECT.value)


def _check(by: Sequence[str]) -> list[str]:
    keys = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    if strange := [name for name in keys if name not in BY]:
        raise InputError(f"costs aren't told apart by {strange[0]!r}: give some of {', '.join(BY)}")
    return keys


def _trace(accepted: LazyTable, table: LazyTable) -> LazyTable:
    """Add to accepted sends whether they were verified, and whether another one came shortly before: 0 or 1."""
    rights = table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null()).group_by("msg_key").agg(rights=nw.len())
    named = accepted.with_columns(app=nw.col("app_key").cast(nw.String).fill_null(""))
    start = {"started_ns": -RESENT_WITHIN_NS - 1}
    is_soon = nw.col("started_ns") - nw.col("previous_started_ns") <= RESENT_WITHIN_NS
    return (
        with_previous(named, list(start), ["mobile_key", "app"], ["started_ns", "temp_id"], start)
        .join(rights, on="msg_key", how="left")
        .with_columns(
            verified=as_number(~nw.col("rights").is_null()),
            resent=as_number(is_soon & ~nw.col("mobile_key").is_null()),
        )
    )


def as_number(condition: nw.Expr) -> nw.Expr:
    """Return 1 where something holds, else 0."""
    return nw.when(condition).then(_ONE).otherwise(_NONE)


def _sum_accepted(accepted: LazyTable, names: list[str]) -> LazyTable:
    verified = nw.col("verified")
    counted = accepted.with_columns(
        accepted=_ONE,
        wasted=1 - verified,
        segments=nw.coalesce(nw.col("segments"), _ONE),
        unpriced=as_number(nw.col("amount_micros").is_null()),
        micros=nw.col("amount_micros").fill_null(0),
        user=nw.when(verified == 1).then(nw.col("mobile_key")),
    ).with_columns(
        *((nw.col(name) * nw.col(of)).alias(f"{name}_{of}") for name in _MESSAGES for of in ("unpriced", "micros")),
        billed=nw.col("segments") * (1 - nw.col("unpriced")),
        nobody=as_number(nw.col("user").is_null()),  # which n_unique counts as somebody
    )
    sums = counted.group_by(names).agg(nw.col(*_SUMS).sum(), nw.col("user").n_unique(), nw.col("nobody").max())
    users = (nw.col("user") - nw.col("nobody")).alias("users")
    return _integers(sums.select(*names, *_SUMS, users, *_zeros(*_OTHERS)))


def _sum_others(sends: LazyTable, names: list[str]) -> LazyTable:
    counted = sends.with_columns(refused=as_number(_is_free())).with_columns(possibly_charged=1 - nw.col("refused"))
    sums = counted.group_by(names).agg(nw.col(*_OTHERS).sum())
    return _integers(sums.select(*names, *_zeros(*_SUMS, "users"), *_OTHERS))


def _integers(sums: LazyTable) -> LazyTable:
    """Return sums of 64 bits, which differ in width from engine to engine."""
    return sums.with_columns(nw.col(*_SUMS, "users", *_OTHERS).cast(nw.Int64))


def _zeros(*names: str) -> list[nw.Expr]:
    return [_NONE.alias(name) for name in names]


# In pandas.


def _show(sums: pd.DataFrame, keys: list[str], prices: Prices) -> pd.DataFrame:
    """Make the table of the sums of each group."""
    accepted, users, money = sums["accepted"], sums["users"], _money_of(sums, "accepted")
    table = sums.assign(
        sends=accepted + sums["refused"] + sums["possibly_charged"],
        unpriced=sums["segments"] - sums["billed"],
        money=money,
        currency=pd.Categorical([prices.currency] * len(sums)),
        conversion=sums["verified"] / accepted.where(accepted > 0),
        wasted_money=_money_of(sums, "wasted"),
        resent_money=_money_of(sums, "resent"),
        verified_users=users,
        money_per_verified_user=_divide(money, users),
    )
    if "day" in keys:
        table["day"] = to_utc(sums["day_ns"])
    columns = [*keys, *_COLUMNS]
    if "temp_id" in keys:
        table = table.astype({"temp_id": "Int64"}).assign(template_type=_types_of(table["temp_id"], prices))
        columns.insert(len(keys), "template_type")
    return (table.sort_values(keys, ignore_index=True) if keys else table)[columns]


def _money_of(sums: pd.DataFrame, name: str) -> pd.Series:
    """Return the money of some messages, null where there are some and none has a price."""
    is_known = (sums[name] == 0) | (sums[f"{name}_unpriced"] < sums[name])
    return to_money(sums[f"{name}_micros"].where(is_known))


def _divide(money: pd.Series, users: pd.Series) -> pd.Series:
    pairs = zip(money, users, strict=True)
    return decimals((None if pd.isna(it) or not count else it / count for it, count in pairs), money.index)


def _types_of(temp_ids: pd.Series, prices: Prices) -> pd.Series:
    types = {it.temp_id: it.type for it in prices.templates}
    found = [None if pd.isna(it) else types.get(int(it)) for it in temp_ids]
    return pd.Series(pd.Categorical(found, sorted(set(types.values()))), temp_ids.index)
