"""Compare rule sets by the outcomes of recorded sends: messages, money, lost users and caught abuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from toolkit.analysis.billing.pricing import look_up_prices, needs_carrier, to_money
from toolkit.analysis.calls_table import IntoCalls
from toolkit.analysis.carriers import carriers
from toolkit.analysis.display import readable
from toolkit.analysis.other_rules.recorded_sends import (
    HAS_MOBILE,
    IS_GUESSING,
    IS_PUMPING,
    IS_VERIFIED,
    WAS_SENT,
    Part,
    RecordedSends,
    recorded_sends,
)
from toolkit.analysis.other_rules.replay import Bools, Ints, Played, Replay, SortedSends, replay
from toolkit.analysis.other_rules.rule_set import RECORDED, RuleSet
from toolkit.analysis.tidy_frames import returns_result
from toolkit.analysis.timestamps import NS_PER_DAY
from toolkit.api.errors import InputError
from toolkit.api.rate_rules import Rule
from toolkit.number_format import MISSING
from toolkit.price_list import PriceList, Unit
from toolkit.time_zone import utc_offsets

BY = ("app_key", "prefix", "temp_id")
PATIENCE_S = 300.0  # the lifetime of a code, and the time after which another send of a mobile is not a resend
Progress = Callable[[int, int], object]
"""A function that gets the number of replays that are done, and that of all."""

_NO_PRICES = PriceList()
_COUNTS = ("sends", "messages", "refused", "newly_refused", "newly_allowed", "undecided")
_SAVED = ("messages_saved", "messages_saved_low", "messages_saved_high")
_MONEY = ("money", "money_saved", "money_saved_low", "money_saved_high")
_USERS = ("verified_lost", "users_lost", "users_lost_low", "users_lost_high", "users_gained_high")
_ABUSE = ("pumping", "pumping_caught", "guessing", "guessing_caught")
_COLUMNS = ["rule_set", *_COUNTS, *_SAVED, *_MONEY, "currency", "unpriced", *_USERS, *_ABUSE]


@returns_result
def what_if(
    calls: IntoCalls | RecordedSends,
    rule_sets: Iterable[RuleSet],
    prices: PriceList | None = None,
    by: str | None = None,
    patience_s: float = PATIENCE_S,
    on_progress: Progress = lambda *_: None,
) -> pd.DataFrame:
    """Replay recorded sends through other rules, and compare the outcomes with the recorded ones.

    The module ``replay`` describes the method. The columns without a suffix assume that all sends are made as recorded.
    Those with _low and _high are the smallest and the largest value if people act differently after another response:
    they make no more sends for ``patience_s``, or they try again as soon as the rules allow it.

    Sends before the first one are unknown, so the first hours of a log may allow too many. The segments of a send that
    was refused in the log are those of its template in the price list, else 1.

    Args:
        calls: The result of ``recorded_sends``, or calls.
        rule_sets: The rules to compare.
        prices: The prices of the log's messages.
        by: A column that defines groups: app_key, prefix or temp_id.
        patience_s: The time that a person waits for a code, s.
        on_progress: Called after each replay.

    Returns:
        For each group, one row for the recorded outcomes and one for each rule set, with these columns:

        - the one of ``by``: app_key, prefix (category) or temp_id (Int64)
        - rule_set (category): "recorded", or the text of the rule set
        - sends (int64): accepted or refused for frequency in the log
        - messages, refused (Int64): sends that the rule set allows and refuses
        - newly_refused, newly_allowed (Int64): sends whose outcome differs from the recorded one
        - undecided (int64): sends without the mobile key that a rule needs, or the prefix that a block list needs
        - messages_saved, messages_saved_low, messages_saved_high (Int64): recorded messages less messages; negative if
          the rules allow more
        - money (float64), currency (category): the cost of the messages; null without a known price
        - money_saved, money_saved_low, money_saved_high (float64): the recorded cost less this cost; null, too, if more
          messages than in the log have no known price, because they would count as saved
        - unpriced (Int64): messages without a known price
        - verified_lost (Int64): newly refused sends that had ended in a successful verify
        - users_lost, users_lost_low, users_lost_high (Int64): mobiles of an app with such a send
        - users_gained_high (Int64): mobiles without a successful verify that have a newly allowed send
        - pumping (Int64): recorded unverified messages to the flagged prefixes of ``suspects``
        - guessing (Int64): recorded messages to the flagged mobiles of ``guessers``
        - pumping_caught, guessing_caught (Int64): how many of these are newly refused

        Figures are null if the log lacks what they need: mobile keys for rules and users, verifies with msg_key for
        lost users and abuse, prefixes for a block list.

    Raises:
        InputError: Two rule sets have the same name, ``by`` is another column, the prices name an unknown carrier, or
            they are in two currencies.

    >>> what_if(calls, [RuleSet.parse("1/30s 3/1h")], prices)  # doctest: +SKIP
    """
    if by is not None and by not in BY:
        raise InputError(f"invalid by {by!r}: expected one of {', '.join(BY)}")
    sets = list(rule_sets)
    labels = [RECORDED, *map(str, sets)]
    if len(set(labels)) < len(labels):
        repeated = next(it for it in labels if labels.count(it) > 1)
        raise InputError(f"the rule set {repeated!r} is given twice: give each one another label")
    currencies = {it.currency for it in (prices, *(rule_set.prices for rule_set in sets)) if it and it.currency}
    if len(currencies) > 1:
        raise InputError(f"prices in {' and '.join(sorted(currencies))} can't be compared: give all in one currency")
    sends = calls if isinstance(calls, RecordedSends) else recorded_sends(calls)
    comparison = _Comparison(sends, prices or _NO_PRICES, by, round(patience_s * 1000))
    totals = [_Totals(comparison.groups) for _ in labels]
    for number, part in enumerate(sends.parts):
        view = comparison.add_recorded(part, sets, totals[0])
        for done, (rule_set, total) in enumerate(zip(sets, totals[1:], strict=True), 1):
            comparison.add(view, rule_set, total)
            on_progress(number * len(sets) + done, len(sets) * len(sends.parts))
    frames = [comparison.to_frame(totals[0], total, it) for it, total in zip([None, *sets], totals, strict=True)]
    frame = pd.concat(frames).astype({"rule_set": pd.CategoricalDtype(labels, ordered=True)})
    keys = [] if by is None else [by]
    frame = frame[frame["sends"] > 0] if by is not None else frame
    frame = frame.sort_values([*keys, "rule_set"], ignore_index=True)
    return frame[[*keys, *_COLUMNS]]


@returns_result
def what_if_sweep(
    calls: IntoCalls | RecordedSends,
    counts: Sequence[int],
    windows_s: Sequence[int],
    prices: PriceList | None = None,
    others: Sequence[Rule] = (),
    patience_s: float = PATIENCE_S,
    on_progress: Progress = lambda *_: None,
) -> pd.DataFrame:
    """Compare one rule for each of some counts and windows, and mark the rules that no other one is better than.

    Args:
        calls: The result of ``recorded_sends``, or calls.
        counts: The sends that a rule allows in its window.
        windows_s: The lengths of the windows, s.
        prices: The prices of the log's messages.
        others: Rules that apply together with each of these.
        patience_s: The time that a person waits for a code, s.
        on_progress: Called after each replay.

    Returns:
        One row for each rule, with the columns of ``what_if`` and:

        - max_sends (int64), window_s (int64, s): the count and the window of the rule
        - is_best (bool): on the Pareto front: no other rule saves more money (messages, if the money is unknown) and
          loses fewer users, or is better in one of the two and equal in the other. False if users are unknown.

    Raises:
        InputError: A count or a window is less than 1, or none is given.

    >>> what_if_sweep(calls, [1, 3, 5], [60, 3600], prices)  # doctest: +SKIP
    """
    if not (counts and windows_s):
        raise InputError("nothing to sweep: give at least one count and one window, e.g. 1,3,5/60s,1h")
    rules = [Rule(count, window_s) for window_s in dict.fromkeys(windows_s) for count in dict.fromkeys(counts)]
    sets = [RuleSet((rule, *others), label=str(rule)) for rule in rules]
    frame = what_if(calls, sets, prices, None, patience_s, on_progress).iloc[1:].reset_index(drop=True)
    measure = "money_saved" if frame["money_saved"].notna().all() else "messages_saved"
    frame.insert(0, "max_sends", [rule.count for rule in rules])
    frame.insert(1, "window_s", [rule.window_s for rule in rules])
    lost, saved = (frame[it].astype("Float64").to_numpy(np.float64, na_value=np.nan) for it in ("users_lost", measure))
    return frame.assign(is_best=_on_pareto_front(lost, saved))


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """Format the result of ``what_if`` without groups as text, with one column for each rule set.

    Args:
        frame: The result of ``what_if``.

    Returns:
        One row per figure. Columns: figure (string), and one (string) for "recorded" and for each rule set. Bounds are
        in a row of their own, as "LOW to HIGH".
    """
    texts = readable(frame)
    labels = texts["rule_set"].tolist()
    rows: dict[str, list[str]] = {}
    for name in (it for it in _COLUMNS if it not in ("rule_set", "currency") and not it.endswith("_high")):
        title, values = name.replace("_", " "), texts[name].tolist()
        if name.endswith("_low"):
            title = f"{title.removesuffix(' low')}, bounds"
            highs = texts[f"{name[:-4]}_high"].tolist()
            values = [
                low if low == high == MISSING else f"{low} to {high}" for low, high in zip(values, highs, strict=True)
            ]
        rows[title] = values
    currency = next(iter(frame["currency"].dropna()), "")
    rows = {f"{title} ({currency})" if "money" in title and currency else title: it for title, it in rows.items()}
    rows["users gained, at most"] = texts["users_gained_high"].tolist()
    columns = {"figure": list(rows)} | {label: [it[at] for it in rows.values()] for at, label in enumerate(labels)}
    return pd.DataFrame(columns, index=[""] * len(rows), dtype=pd.StringDtype("pyarrow"))


def _on_pareto_front(lost: NDArray[Any], saved: NDArray[Any]) -> Bools:
    """Return whether no other point has less ``lost`` and more ``saved``; a point without a value is not on the front.

    >>> _on_pareto_front(np.array([0.0, 5, 5]), np.array([1.0, 9, 8])).tolist()
    [True, True, False]
    """
    is_worse = (lost[:, None] >= lost) & (saved[:, None] <= saved) & ((lost[:, None] > lost) | (saved[:, None] < saved))
    best: Bools = ~is_worse.any(axis=1) & ~np.isnan(lost) & ~np.isnan(saved)
    return best


def remarks(sends: RecordedSends, frame: pd.DataFrame, rule_sets: Sequence[RuleSet] = ()) -> list[str]:
    """Return sentences on the missing data that make figures of ``what_if`` unknown or incomplete.

    Args:
        sends: The sends that were replayed.
        frame: The result of ``what_if``.
        rule_sets: Its rule sets, for remarks on block lists.
    """
    found = []
    if not len(sends):
        return ["The log has no send that was accepted or refused for frequency: nothing was replayed."]
    if not sends.has_mobiles:
        found.append("No send has a mobile key, so no rule can decide on it: the figures of rules are unknown.")
    elif sends.without_mobile:
        found.append(f"{sends.without_mobile:,} sends have no mobile key and keep their recorded answer.")
    if sends.without_prefix and any(it.blocked for it in rule_sets):
        found.append(f"{sends.without_prefix:,} sends have no prefix: a block list can't refuse them.")
    blocked = dict.fromkeys(it for rule_set in rule_sets for it in rule_set.blocked)
    found += [
        f"No send went to a mobile that begins with {digits}: to block it changes nothing."
        for digits in blocked
        if sends.has_prefixes and not any(str(it).startswith(digits) for it in sends.values["prefix"])
    ]
    if not sends.has_success:
        found.append("No verify can be joined with its send, so lost users and caught abuse are unknown.")
    if sends.unknown:
        found.append(f"{sends.unknown:,} sends got no response that shows whether they were accepted: left out.")
    if frame["money"].isna().all() or frame["currency"].isna().all():
        found.append("No price is known, so the money is unknown: give prices.")
    elif unpriced := int(frame["unpriced"].max()):
        found.append(f"Up to {unpriced:,} messages have no known price: they are not part of the money.")
        is_unsaved = frame["money"].notna() & frame["money_saved_low"].isna()
        if names := frame.loc[is_unsaved, "rule_set"].astype(str).unique().tolist():
            because = "messages that it compares have no known price"
            found.append(f"The money saved, or a bound of it, is unknown for {', '.join(names)}: {because}.")
    return found


@dataclass(slots=True)
class _Totals:
    """Sums by group."""

    groups: int
    counts: dict[str, Ints] = field(default_factory=dict)

    def add(self, name: str, groups: Ints, weights: Ints | None = None) -> None:
        """Add one, or a weight, for each element of ``groups``."""
        # Sums of float64 are exact below 2^53: nine billion of a currency in millionths.
        found = np.bincount(groups, weights, minlength=self.groups)
        self.counts[name] = self.of(name) + found.astype(np.int64)

    def of(self, name: str) -> Ints:
        """Return the sum of each group."""
        return self.counts.get(name, np.zeros(self.groups, np.int64))


@dataclass(frozen=True, slots=True)
class _View:
    """A part of the sends with the arrays that each rule set needs: groups, numbers of mobiles, recorded outcomes."""

    part: Part
    groups: Ints
    mobile: Ints
    was_sent: Bools
    is_verified: Bools
    has_mobile: Bools
    sorted_sends: SortedSends


class _Comparison:
    """Adds up the outcomes of sends by group.

    The recorded messages are added up once for each price list. A rule set adds the messages by which it differs.
    """

    def __init__(self, sends: RecordedSends, prices: PriceList, by: str | None, patience_ms: int) -> None:
        self._sends, self._prices, self._by, self._patience_ms = sends, prices, by, patience_ms
        self.groups = max(1, len(sends.values[by])) if by else 1
        self._price_tables: dict[int, _PriceTable] = {}
        self._recorded: dict[int, _Totals] = {}

    def add_recorded(self, part: Part, rule_sets: Sequence[RuleSet], total: _Totals) -> _View:
        """Add the recorded outcomes, and return a view of the part."""
        groups = part.codes[self._by].astype(np.int64) if self._by else np.zeros(len(part), np.int64)
        was_sent, is_verified, has_mobile = (part.has(it) for it in (WAS_SENT, IS_VERIFIED, HAS_MOBILE))
        total.add("sends", groups)
        total.add("undecided", groups[~has_mobile])
        total.add("pumping", groups[was_sent & ~is_verified & part.has(IS_PUMPING)])
        total.add("guessing", groups[was_sent & part.has(IS_GUESSING)])
        rows = np.flatnonzero(was_sent)
        for prices in {id(it): it for it in (self._prices, *(it.prices for it in rule_sets if it.prices))}.values():
            of_prices = self._recorded.setdefault(id(prices), _Totals(self.groups))
            self._add_messages(part, groups, of_prices, prices, rows, "", 1)
        mobile, everything = np.cumsum(part.is_first) - 1, np.ones(len(part), np.bool_)
        return _View(part, groups, mobile, was_sent, is_verified, has_mobile, part.sorted_sends(everything))

    def add(self, view: _View, rule_set: RuleSet, total: _Totals) -> None:
        """Replay a part of the sends through a rule set, and add the outcomes that differ from the recorded ones."""
        part, groups, was_sent = view.part, view.groups, view.was_sent
        total.add("undecided", groups[self._is_undecided(view, rule_set)])
        found = self._play(view, rule_set)
        for number, played in enumerate(found.all()):
            for differs, sign in ((played.sent & ~was_sent, 1), (was_sent & ~played.sent, -1)):
                rows = np.flatnonzero(differs)
                self._add_messages(part, groups, total, rule_set.prices or self._prices, rows, str(number), sign)
            total.add(f"users_lost{number}", self._distinct(view, np.flatnonzero(played.lost)))
        sent = found.as_recorded.sent
        refused, allowed = np.flatnonzero(was_sent & ~sent), np.flatnonzero(sent & ~was_sent)
        total.add("newly_refused", groups[refused])
        total.add("newly_allowed", groups[allowed])
        total.add("verified_lost", groups[found.as_recorded.lost])
        flags = part.flags[refused]
        total.add("pumping_caught", groups[refused[(flags & (IS_PUMPING | IS_VERIFIED)) == IS_PUMPING]])
        total.add("guessing_caught", groups[refused[(flags & IS_GUESSING) != 0]])
        if len(allowed):
            has_verified = np.zeros(int(view.mobile[-1]) + 1, np.bool_)
            has_verified[view.mobile[view.is_verified]] = True
            total.add("users_gained_high", self._distinct(view, allowed[~has_verified[view.mobile[allowed]]]))

    def _is_undecided(self, view: _View, rule_set: RuleSet) -> Bools:
        lacks_mobile = ~view.has_mobile & (rule_set.rules is not None or not rule_set.blocked)
        return lacks_mobile | ~self._sends.has_prefix(view.part) if rule_set.blocked else lacks_mobile

    def _distinct(self, view: _View, rows: Ints) -> Ints:
        """Return the group of each mobile in each group, once."""
        pairs: Ints = np.unique(view.mobile[rows] * self.groups + view.groups[rows])
        return pairs % self.groups

    def _add_messages(
        self, part: Part, groups: Ints, total: _Totals, prices: PriceList, rows: Ints, suffix: str, sign: int
    ) -> None:
        """Add messages with their cost, or subtract them if the sign is -1."""
        groups = groups[rows]
        signs = np.full(len(rows), sign)
        total.add(f"messages{suffix}", groups, signs)
        if prices.rows:
            if id(prices) not in self._price_tables:
                self._price_tables[id(prices)] = _PriceTable.make(self._sends, prices)
            micros = self._price_tables[id(prices)].amounts(part, rows)
            total.add(f"micros{suffix}", groups, sign * np.maximum(micros, 0))
            total.add(f"unpriced{suffix}", groups, signs * (micros < 0))
        else:
            total.add(f"unpriced{suffix}", groups, signs)

    def _play(self, view: _View, rule_set: RuleSet) -> Replay:
        """Return the outcomes of a part's sends; those without a mobile key keep the recorded one."""
        is_blocked = np.zeros(len(view.part), np.bool_)
        if rule_set.blocked:
            prefixes = self._sends.values["prefix"] or [None]
            is_blocked = np.array([str(it or "").startswith(rule_set.blocked) for it in prefixes])[
                view.part.codes["prefix"]
            ]
        kept = Played(view.was_sent & ~is_blocked, view.is_verified & is_blocked)
        if rule_set.rules is None:
            return Replay(kept, kept, kept)
        chosen = view.has_mobile & ~is_blocked
        if chosen.all():
            return replay(rule_set.rules, view.sorted_sends, self._patience_ms)
        found = replay(rule_set.rules, view.part.sorted_sends(chosen), self._patience_ms)
        outcomes = [(kept.sent.copy(), kept.lost.copy()) for _ in found.all()]
        for (sent, lost), played in zip(outcomes, found.all(), strict=True):
            sent[chosen], lost[chosen] = played.sent, played.lost
        return Replay(*(Played(*it) for it in outcomes))

    def to_frame(self, recorded: _Totals, total: _Totals, rule_set: RuleSet | None) -> pd.DataFrame:
        """Return the rows of a rule set; ``rule_set`` is None for the recorded outcomes."""
        sends, groups = self._sends, range(3)
        prices = self._prices if rule_set is None else rule_set.prices or self._prices
        before = self._recorded.get(id(self._prices), _Totals(self.groups))
        base = self._recorded.get(id(prices), _Totals(self.groups))
        messages, unpriced = (
            [base.of(name) + total.of(f"{name}{number}") for number in groups] for name in ("messages", "unpriced")
        )
        users = [total.of(f"users_lost{number}") for number in groups]
        micros = [
            _known_micros(base.of("micros") + total.of(f"micros{number}"), messages[number], unpriced[number])
            for number in groups
        ]
        cost_before = _known_micros(before.of("micros"), before.of("messages"), before.of("unpriced"))
        saved = pd.concat(
            [
                (cost_before - cost).mask(without_price > before.of("unpriced"))
                for cost, without_price in zip(micros, unpriced, strict=True)
            ],
            axis=1,
        )
        is_unknown = rule_set is not None and (
            (rule_set.rules is not None and not sends.has_mobiles)
            or (bool(rule_set.blocked) and not sends.has_prefixes)
        )
        is_known = not (is_unknown and len(sends))
        has_users = is_known and sends.has_success and sends.has_mobiles
        has_success, has_abuse = is_known and sends.has_success, is_known and sends.has_abuse
        counts = {
            "messages": (messages[0], is_known),
            "refused": (recorded.of("sends") - messages[0], is_known),
            "newly_refused": (total.of("newly_refused"), is_known),
            "newly_allowed": (total.of("newly_allowed"), is_known),
            "messages_saved": (before.of("messages") - messages[0], is_known),
            "messages_saved_low": (before.of("messages") - np.maximum.reduce(messages), is_known),
            "messages_saved_high": (before.of("messages") - np.minimum.reduce(messages), is_known),
            "unpriced": (unpriced[0], is_known),
            "verified_lost": (total.of("verified_lost"), has_success),
            "users_lost": (users[0], has_users),
            "users_lost_low": (np.minimum.reduce(users), has_users),
            "users_lost_high": (np.maximum.reduce(users), has_users),
            "users_gained_high": (total.of("users_gained_high"), has_users),
            "pumping": (recorded.of("pumping"), sends.has_abuse),
            "pumping_caught": (total.of("pumping_caught"), has_abuse),
            "guessing": (recorded.of("guessing"), sends.has_abuse),
            "guessing_caught": (total.of("guessing_caught"), has_abuse),
        }
        money = {
            "money": micros[0],
            "money_saved": saved[0],
            "money_saved_low": saved.min(axis=1, skipna=False),
            "money_saved_high": saved.max(axis=1, skipna=False),
        }
        frame = pd.DataFrame(
            {"sends": recorded.of("sends"), "undecided": total.of("undecided")}
            | {name: _nullable(values, known) for name, (values, known) in counts.items()}
            | {name: to_money(_nullable(values, is_known)) for name, values in money.items()}
        ).assign(
            rule_set=RECORDED if rule_set is None else str(rule_set),
            currency=pd.Categorical([prices.currency] * self.groups),
        )
        if self._by:
            values = pd.Series(sends.values[self._by] or [None])
            frame[self._by] = values.astype("Int64" if self._by == "temp_id" else "category")
        return frame


def _known_micros(micros: Ints, messages: Ints, unpriced: Ints) -> pd.Series:
    """Return amounts; null if there are messages but no prices."""
    return pd.Series(micros, dtype="Int64").mask((messages > 0) & (unpriced == messages))


def _nullable(values: Ints | pd.Series, is_known: bool) -> pd.Series:
    found = pd.Series(values, dtype="Int64")
    return found if is_known else found.mask(np.ones(len(found), bool))


@dataclass(frozen=True, slots=True)
class _PriceTable:
    """The prices of a log's sends in millionths, by day, template and carrier; -1 if unknown.

    ``since_ns``, ``offset_ns``: the times from which on the time zone has another offset.
    """

    micros: Ints
    first_day: int
    since_ns: Ints
    offset_ns: Ints
    carrier_of_prefix: Ints
    template_segments: Ints
    is_per_send: bool

    @classmethod
    def make(cls, sends: RecordedSends, prices: PriceList) -> _PriceTable:
        """Look up the price of each day, template and carrier of the sends."""
        starts = [it.started_ns for it in sends.parts if len(it)]
        first_ns = min((int(it.min()) for it in starts), default=0)
        last_ns = max((int(it.max()) for it in starts), default=0)
        since_ns, offset_ns = (
            np.array(it, np.int64) for it in zip(*utc_offsets(sends.timezone, first_ns, last_ns), strict=True)
        )
        since_ns[0] = -(1 << 62)
        first_day, last_day = ((it + int(offset_ns[at])) // NS_PER_DAY for it, at in ((first_ns, 0), (last_ns, -1)))
        names, of_prefix = _carriers_of(sends, prices)
        temp_ids = sends.values["temp_id"] or [None]
        days = [day * NS_PER_DAY for day in range(first_day, last_day + 1)]
        cells = pd.MultiIndex.from_product([days, range(len(temp_ids)), range(len(names))], names=["day_ns", "t", "c"])
        frame = cells.to_frame(index=False)
        frame["temp_id"] = pd.array([temp_ids[it] for it in frame["t"]], "Int64")
        frame["carrier"] = pd.Series([names[it] for it in frame["c"]], dtype=object)
        found = look_up_prices(frame, prices)
        micros = found["price_micros"].fillna(-1).to_numpy(np.int64).reshape(len(days), len(temp_ids), len(names))
        segments = found["template_segments"].fillna(0).to_numpy(np.int64).reshape(micros.shape)[0, :, 0]
        return cls(micros, first_day, since_ns, offset_ns, of_prefix, segments, prices.unit is Unit.SEND)

    def amounts(self, part: Part, rows: Ints) -> Ints:
        """Return the price of each message in millionths; -1 if unknown."""
        started_ns, temp_id = part.started_ns[rows], part.codes["temp_id"][rows]
        offset_ns = self.offset_ns[np.searchsorted(self.since_ns, started_ns, side="right") - 1]
        day = (started_ns + offset_ns) // NS_PER_DAY - self.first_day
        price: Ints = self.micros[day, temp_id, self.carrier_of_prefix[part.codes["prefix"][rows]]]
        if self.is_per_send:
            return price
        recorded = part.segments[rows]
        segments = np.maximum(np.where(recorded > 0, recorded, self.template_segments[temp_id]), 1)
        return np.where(price < 0, -1, price * segments)


def _carriers_of(sends: RecordedSends, prices: PriceList) -> tuple[list[str | None], Ints]:
    """Return the carriers that prices depend on, and for each prefix the index of its carrier."""
    prefixes = sends.values["prefix"] or [None]
    if not needs_carrier(prices):
        return [None], np.zeros(len(prefixes), np.int64)
    found = carriers(prefixes, ["carrier"])
    of_prefix = dict(
        zip(found["prefix"], found["carrier"].astype(object).where(found["carrier"].notna(), None), strict=True)
    )
    names = list(dict.fromkeys([None, *of_prefix.values()]))
    return names, np.array([names.index(of_prefix.get(it)) for it in prefixes], np.int64)
