"""Sum up the cost of messages by day, app, template and carrier, with the cost of unverified and of repeated ones."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw
import pandas as pd

from toolkit.analysis.billing.pricing import (
    add_prices,
    as_number,
    needs_carrier,
    select_sends,
    to_money,
)
from toolkit.analysis.calls import Calls
from toolkit.analysis.calls_table import (
    IS_FREE,
    IS_SUCCESS,
    IS_UNKNOWN,
    IS_VERIFY,
    IntoCalls,
    LazyTable,
    checked,
    collect,
    covered_ratio,
    lazy_messages,
)
from toolkit.analysis.carriers import locate
from toolkit.analysis.native_ops import with_previous
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_S, from_wall_clock
from toolkit.api.errors import InputError
from toolkit.price_list import PriceList
from toolkit.time_zone import UTC

BY = ("day", "app_key", "temp_id", "carrier")
_MORE_BY = ("prefix", "mobile_key")
_RESENT_WITHIN_NS = 300 * NS_PER_S

_PRICED = ("accepted", "wasted", "resent")  # messages that are counted with their cost
_ACCEPTED_SUMS = (
    *("segments", "billed", "verified"),
    *(name + suffix for name in _PRICED for suffix in ("", "_unpriced", "_micros")),
    *("no_mobile_key", "no_msg_key", "users"),
)
_OTHER_SUMS = ("refused", "possibly_charged", "unknown")
_COLUMNS = (
    *("sends", "accepted", "segments", "billed", "unpriced", "money", "currency", "verified", "conversion_ratio"),
    *("wasted", "wasted_money", "resent", "resent_money", "refused", "possibly_charged", "unknown"),
    *("verified_users", "money_per_verified_user"),
)
_INPUTS = [
    *("started_ns", "endpoint", "http_status", "return_code", "kind", "error", "app_key", "mobile_key", "prefix"),
    *("temp_id", "segments", "msg_key"),
]
_ONE, _ZERO = nw.lit(1, nw.Int64), nw.lit(0, nw.Int64)


@returns_result
def cost(calls: IntoCalls, prices: PriceList, by: Sequence[str] = BY, timezone: str = UTC) -> pd.DataFrame:
    """Sum up the cost of sends in groups.

    A message belongs to the day, template and carrier of its send, even if it was verified on a later day.

    A log of a server may hold no keys. Counts of verified messages need ``msg_key`` and counts of users and of resent
    messages ``mobile_key``: they are null in a group without any. Messages without a key are counted as not verified
    and not resent if others of the group have one.

    Args:
        calls: Calls with ``msg_key``.
        prices: The price list.
        by: The columns that define a group: any of day, app_key, temp_id, carrier, prefix and mobile_key, or none for
            one total.
        timezone: The time zone of days and of the prices' first days, e.g. Asia/Shanghai.

    Returns:
        One row per group, with these columns:

        - those of ``by``: day (datetime64[ns, timezone]), app_key (category), temp_id (Int64), carrier (category,
          null if unknown)
        - template_type (category, null if unknown): only if ``by`` contains temp_id
        - sends (int64): calls
        - accepted (int64): messages
        - segments (int64): of accepted messages; by the record, else the template, else 1
        - billed, unpriced (int64): the segments with and without a known price
        - money (float64), currency (category): the cost of the billed segments, null if no price is known; it is summed
          exactly, then rounded to the closest float64, which is right to the millionth up to 9 billion
        - verified (Int64): messages with a successful verify
        - conversion_ratio (0..1, float64): verified / accepted
        - wasted (Int64), wasted_money (float64): messages without a successful verify
        - resent (Int64), resent_money (float64): messages within 5 minutes after another one of the app and mobile
        - refused (int64): sends that were certainly free
        - possibly_charged (int64): sends that may have been charged, for example after a timeout
        - unknown (int64): of these, sends with a return code of unknown kind
        - verified_users (Int64): distinct mobiles with a successful verify
        - money_per_verified_user (float64): not rounded
        - covered_ratio (0..1, float64): only if ``by`` contains day: the share of the day between the starts of the
          first and of the last call; below 1 only for the first and the last day, whose sums are of a part of the day

    Raises:
        InputError: ``by`` contains another column, or the price list contains an unknown carrier.

    >>> cost(calls, prices, by=["day"])  # doctest: +SKIP
    """
    keys = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    if unknown := [name for name in keys if name not in (*BY, *_MORE_BY)]:
        raise InputError(f"cost can't be grouped by {unknown[0]!r} (choose from {', '.join((*BY, *_MORE_BY))})")
    table = lazy_messages(calls, "return_code", "msg_key").select(_INPUTS)
    sends = select_sends(table, timezone).with_columns(everything=_ONE)
    if "carrier" in keys or needs_carrier(prices):
        sends = locate(sends, "carrier")
    names = ["day_ns" if name == "day" else name for name in keys] or ["everything"]
    accepted = _sum_accepted(_mark(add_prices(sends.filter(IS_SUCCESS), prices), table), names)
    others = _sum_others(sends.filter(~IS_SUCCESS.fill_null(False)), names)
    sums = collect(nw.concat([accepted, others])).groupby(names, observed=True, dropna=False).sum().reset_index()
    frame = _to_frame(sums, keys, prices, timezone)
    if "day" in keys:
        frame["covered_ratio"] = covered_ratio(table, frame["day"], frame["day"] + pd.DateOffset(days=1))
    return frame


def add_money(
    found: pd.DataFrame, calls: IntoCalls, prices: PriceList | None, key: str, timezone: str = UTC
) -> pd.DataFrame:
    """Add the cost of the messages of each prefix or mobile, as columns money and currency; null without a price.

    ``key``: the column that ``found`` and the calls have in common, prefix or mobile_key.
    """
    amounts: dict[object, float] = {}
    if prices is not None and prices.rows and len(found):
        given, values = checked(calls), found[key].tolist()
        table = given.table.filter(nw.col(key).is_in(values))
        chosen = Calls(table, absent=given.absent, has_repeated_messages=given.has_repeated_messages)
        costs = cost(chosen, prices, [key], timezone)
        amounts = dict(zip(costs[key].tolist(), costs["money"].tolist(), strict=True))
    money = pd.Series([amounts.get(it) for it in found[key].tolist()], found.index, "float64")
    currency = prices.currency if prices is not None and prices.rows else None
    return found.assign(money=money, currency=pd.Categorical([currency] * len(found)))


def _mark(accepted: LazyTable, table: LazyTable) -> LazyTable:
    """Add ``verified`` and ``resent``, 0 or 1, to accepted sends."""
    verifies = table.filter(IS_VERIFY, IS_SUCCESS, ~nw.col("msg_key").is_null())
    verifies = verifies.group_by("msg_key").agg(verifies=nw.len())
    named = accepted.with_columns(app=nw.col("app_key").cast(nw.String).fill_null(""))
    first = {"started_ns": -_RESENT_WITHIN_NS - 1}
    is_soon = nw.col("started_ns") - nw.col("previous_started_ns") <= _RESENT_WITHIN_NS
    return (
        with_previous(named, list(first), ["mobile_key", "app"], ["started_ns", "temp_id"], first)
        .join(verifies, on="msg_key", how="left")
        .with_columns(
            verified=as_number(~nw.col("verifies").is_null()),
            resent=as_number(is_soon & ~nw.col("mobile_key").is_null()),
        )
    )


def _sum_accepted(accepted: LazyTable, names: list[str]) -> LazyTable:
    """Sum up accepted sends by the columns ``names``; the columns of other sends are 0."""
    verified = nw.col("verified")
    counted = accepted.with_columns(
        accepted=_ONE,
        wasted=1 - verified,
        segments=nw.coalesce(nw.col("segments"), _ONE),
        unpriced=as_number(nw.col("amount_micros").is_null()),
        micros=nw.col("amount_micros").fill_null(0),
        user=nw.when(verified == 1).then(nw.col("mobile_key")),
    ).with_columns(
        *((nw.col(name) * nw.col(of)).alias(f"{name}_{of}") for name in _PRICED for of in ("unpriced", "micros")),
        billed=nw.col("segments") * (1 - nw.col("unpriced")),
        null_user=as_number(nw.col("user").is_null()),
        no_mobile_key=as_number(nw.col("mobile_key").is_null()),
        no_msg_key=as_number(nw.col("msg_key").is_null()),
    )
    summed = [name for name in _ACCEPTED_SUMS if name != "users"]
    sums = counted.group_by(names).agg(nw.col(*summed).sum(), nw.col("user").n_unique(), nw.col("null_user").max())
    users = (nw.col("user") - nw.col("null_user")).alias("users")  # n_unique counts null as a value
    return _to_int64(sums.select(*names, *summed, users, *(_ZERO.alias(name) for name in _OTHER_SUMS)))


def _sum_others(sends: LazyTable, names: list[str]) -> LazyTable:
    """Sum up sends that were not accepted by the columns ``names``; the columns of accepted sends are 0."""
    marked = sends.with_columns(refused=as_number(IS_FREE), unknown=as_number(IS_UNKNOWN))
    counted = marked.with_columns(possibly_charged=1 - nw.col("refused"))
    sums = counted.group_by(names).agg(nw.col(*_OTHER_SUMS).sum())
    return _to_int64(sums.select(*names, *(_ZERO.alias(name) for name in _ACCEPTED_SUMS), *_OTHER_SUMS))


def _to_int64(sums: LazyTable) -> LazyTable:
    """Return sums as 64-bit integers; their width differs from engine to engine."""
    return sums.with_columns(nw.col(*_ACCEPTED_SUMS, *_OTHER_SUMS).cast(nw.Int64))


def _to_frame(sums: pd.DataFrame, keys: list[str], prices: PriceList, timezone: str) -> pd.DataFrame:
    """Return the result for the sums of each group."""
    accepted, money = sums["accepted"], _money(sums, "accepted")
    no_mobiles, no_messages = ((accepted > 0) & (sums[name] == accepted) for name in ("no_mobile_key", "no_msg_key"))
    verified, wasted = (sums[name].astype("Int64").mask(no_messages) for name in ("verified", "wasted"))
    users = sums["users"].astype("Int64").mask(no_mobiles | no_messages)
    frame = sums.assign(
        sends=accepted + sums["refused"] + sums["possibly_charged"],
        unpriced=sums["segments"] - sums["billed"],
        money=money,
        currency=pd.Categorical([prices.currency] * len(sums)),
        verified=verified,
        conversion_ratio=verified.astype("float64") / accepted.where(accepted > 0),
        wasted=wasted,
        wasted_money=_money(sums, "wasted").mask(no_messages),
        resent=sums["resent"].astype("Int64").mask(no_mobiles),
        resent_money=_money(sums, "resent").mask(no_mobiles),
        verified_users=users,
        money_per_verified_user=money / users.astype("float64").where(lambda it: it > 0),
    )
    if "day" in keys:
        frame["day"] = from_wall_clock(sums["day_ns"], timezone)
    columns = [*keys, *_COLUMNS]
    if "temp_id" in keys:
        types = {it.temp_id: it.type for it in prices.templates}
        found = [None if pd.isna(it) else types.get(int(it)) for it in sums["temp_id"]]
        template_type = pd.Categorical(found, sorted(set(types.values())))
        frame = frame.astype({"temp_id": "Int64"}).assign(template_type=template_type)
        columns.insert(len(keys), "template_type")
    return (frame.sort_values(keys, ignore_index=True) if keys else frame)[columns]


def _money(sums: pd.DataFrame, name: str) -> pd.Series:
    """Return the cost of some messages; null if there are messages but no prices."""
    is_known = (sums[name] == 0) | (sums[f"{name}_unpriced"] < sums[name])
    return to_money(sums[f"{name}_micros"].where(is_known))
