"""`smscode what-if`: replay recorded sends through other rules, and compare the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.api.errors import InputError
from toolkit.cli.output import OUTPUT, Json, fail, say, show, show_json
from toolkit.cli.report import (
    Column,
    Encoding,
    LogFormat,
    PriceFile,
    Runs,
    Since,
    Timezone,
    Until,
    check_period,
    check_reading,
    check_streams,
    describe_progress,
    parse_columns,
    parse_option,
    reading_status,
)
from toolkit.masking import mask_text
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.remote_storage import is_url, pulled

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.analysis import RuleSet
    from toolkit.price_list import PriceList

_RULES = "Rules"


def what_if(
    ctx: typer.Context,
    runs: Runs,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="Rate limit of sends to a mobile, such as 1/60s. Repeatable: the rules apply together.",
            metavar="COUNT/DURATION",
            show_default="the log's own decisions",
            rich_help_panel=_RULES,
        ),
    ] = None,
    alternative: Annotated[
        list[str] | None,
        typer.Option(
            help='Other rules to compare with, such as "1/120s 5/1h". Repeatable: each is a column.',
            metavar="RULES",
            show_default="none",
            rich_help_panel=_RULES,
        ),
    ] = None,
    blocked: Annotated[
        list[str] | None,
        typer.Option(
            "--block",
            help="First digits of mobiles to which no code is sent, such as 1700123. Repeatable.",
            metavar="DIGITS",
            show_default="none",
            rich_help_panel=_RULES,
        ),
    ] = None,
    new_prices: Annotated[
        Path | None,
        typer.Option(
            help="TOML file of the prices to try.",
            metavar="FILE",
            show_default="those of the log",
            rich_help_panel=_RULES,
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            help="Counts and windows of a rule to compare, such as 1,2,5/60s,5m,1h. It joins the rules of --rule.",
            metavar="COUNTS/WINDOWS",
            show_default="none",
            rich_help_panel=_RULES,
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Also compare by app_key, prefix or temp_id.",
            metavar="COLUMN",
            show_default="none",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(help="HTML file for the chart.", metavar="FILE", show_default="none", rich_help_panel=OUTPUT),
    ] = None,
    patience: Annotated[
        str,
        typer.Option(
            help="Time that a person waits for a code, for the bounds.", metavar="DURATION", rich_help_panel=_RULES
        ),
    ] = "5m",
    since: Since = None,
    until: Until = None,
    timezone: Timezone = None,
    column: Column = None,
    log_format: LogFormat = None,
    encoding: Encoding = None,
    prices: PriceFile = None,
    as_json: Json = False,
) -> None:
    """Replay recorded sends through other rate limits, prices or a block list, and compare the outcomes.

    For each set of rules: messages and money saved, verified users lost, SMS pumping and code guessing caught. The
    values _low and _high are bounds: people may have tried again, or stopped, after another response.

    Examples:
        A folder of "smscode simulate", with two sets of rules next to the recorded outcomes:

        $ smscode what-if small --rule 1/30s --rule 3/3600s --alternative "1/120s 5/1h"
        What if
        figure  recorded  1/30s 3/3600s  1/120s 5/3600s
        sends ...

        Without the mobiles that begin with some digits:

        $ smscode what-if small --block 138
        What if
        figure  recorded  recorded rules without 138
        ...

        Which rule saves most for the users it loses:

        $ smscode what-if small --sweep 1,2,5/60s,5m,1h --chart sweep.html
        Sweep
        rule_set  messages_saved ...
        ...

    """
    import pandas as pd

    from toolkit import analysis
    from toolkit.analysis import charts
    from toolkit.analysis.other_rules.what_if import remarks
    from toolkit.api.durations import parse_duration
    from toolkit.atomic_write import write_atomically
    from toolkit.report.inputs import ReportOptions, read_inputs
    from toolkit.report.source_remarks import unread_remarks
    from toolkit.settings import load_master_secret, load_prices, load_timezone

    zone = load_timezone(timezone)
    check_streams(runs)
    check_period(since, until, zone)
    rule_sets = _rule_sets(rule, alternative, blocked, load_prices(new_prices) if new_prices else None)
    swept = parse_option("--sweep", sweep, _parse_sweep) if sweep else None
    if not rule_sets and not swept:
        raise InputError("nothing to try: give --rule, --alternative, --block, --new-prices or --sweep")
    if swept and (unused := [name for name, given in (("--block", blocked), ("--new-prices", new_prices)) if given]):
        raise InputError(f"--sweep can't be given with {' and '.join(unused)}: it compares rate limits only")
    patience_s = parse_option("--patience", patience, parse_duration)
    reading: dict[str, Any] = {
        "columns": parse_columns("--column", column) or None,
        "log_format": log_format,
        "encoding": encoding,
        "master_secret": load_master_secret(),
    }
    with ExitStack() as stack:
        paths = [stack.enter_context(pulled(run)) if is_url(run) else Path(run) for run in runs]
        show_status = stack.enter_context(reading_status())
        reading["on_progress"] = lambda path, done, size: show_status(describe_progress(path, done, size))
        options = ReportOptions(prices=load_prices(prices), timezone=zone)
        inputs = read_inputs(paths, options, since=since, until=until, **reading)
        check_reading(ctx, inputs.calls.sources)
        show_status("loading the sends")
        sends = analysis.recorded_sends(inputs.calls, zone)

        def progress(done: int, total: int) -> None:
            show_status(f"replaying: {done:,} of {total:,}")

        known: dict[str, Any] = {"prices": inputs.prices, "patience_s": patience_s, "on_progress": progress}
        compared = analysis.what_if(sends, rule_sets, **known)
        grouped = analysis.what_if(sends, rule_sets, by=by, **known) if by else None
        others = rule_sets[0].rules or () if rule else ()
        front = analysis.what_if_sweep(sends, *swept, others=others, **known) if swept else None
        show_status("")
        all_rows = pd.concat([compared, *(it for it in (grouped, front) if it is not None)])
        lines = [*unread_remarks(inputs.total.sources), *remarks(sends, all_rows, rule_sets)]
        for remark in lines:
            say(f"smscode: {mask_text(remark)}")
        _show(compared, grouped, front, as_json)
        if chart:
            picture = charts.what_if(compared) if front is None else charts.what_if_sweep(front)
            write_atomically(chart, charts.to_html(picture))
            say(f"The chart: {chart}")
    if not len(sends):
        fail("no data: no send was replayed", ExitCode.FAILED)


def _rule_sets(
    rule: Sequence[str] | None,
    alternative: Sequence[str] | None,
    blocked: Sequence[str] | None,
    prices: PriceList | None,
) -> list[RuleSet]:
    from toolkit.analysis import RuleSet

    prefixes = tuple(blocked or ())
    parse: Callable[[str], RuleSet] = partial(RuleSet.parse, blocked=prefixes, prices=prices)
    found = [parse_option("--rule", " ".join(rule), parse)] if rule else []
    if not rule and (prefixes or prices):
        found.append(RuleSet(None, prefixes, prices))
    return found + [parse_option("--alternative", text, parse) for text in alternative or ()]


def _parse_sweep(text: str) -> tuple[list[int], list[int]]:
    """Return the counts and the windows in seconds of a sweep.

    >>> _parse_sweep("1,2/60s,1h")
    ([1, 2], [60, 3600])
    """
    from toolkit.api.rate_rules import Rule

    counts, _, windows = text.partition("/")
    if not windows:
        raise InputError(f"invalid sweep {text!r}: expected COUNTS/WINDOWS, e.g. 1,2,5/60s,5m,1h")
    rules = [Rule.parse(f"{count}/{windows.split(',')[0]}") for count in counts.split(",")]
    return [it.count for it in rules], [Rule.parse(f"1/{window}").window_s for window in windows.split(",")]


def _show(compared: pd.DataFrame, grouped: pd.DataFrame | None, front: pd.DataFrame | None, as_json: bool) -> None:
    from toolkit.analysis import side_by_side
    from toolkit.report.table_columns import masked

    if as_json:
        frames = {"what_if": compared, "by": grouped, "sweep": front}
        show_json({name: _rows(masked(frame)) for name, frame in frames.items() if frame is not None})
        return
    if len(compared) > 1:
        rows = [{str(name): it for name, it in row.items()} for row in side_by_side(compared).to_dict("records")]
        show(rows, title="What if", numbers=[name for name in rows[0] if name != "figure"])
    if grouped is not None:
        by = grouped.columns[0]
        changed = grouped["newly_refused"].fillna(0) + grouped["newly_allowed"].fillna(0)
        most = changed.groupby(grouped[by], observed=True, dropna=False).sum().nlargest(_MAX_GROUPS)
        shown = grouped[grouped[by].isin(most.index)]
        show(_texts(shown, by, "rule_set", *_GROUP_COLUMNS), title=f"\nBy {by}", numbers=_GROUP_COLUMNS)
        if omitted := grouped[by].nunique(dropna=False) - len(most):
            say(f"{omitted:,} more groups, in which fewer responses differ, are not shown; --json has all of them.")
    if front is not None:
        shown = front.sort_values("users_lost", ignore_index=True)
        show(_texts(shown, *_SWEEP_COLUMNS), title=_titled("\nSweep", front), numbers=_SWEEP_COLUMNS[1:-1])


_MAX_GROUPS = 25
_GROUP_COLUMNS = ("sends", "messages", "messages_saved", "money_saved", "users_lost", "pumping_caught")
_SWEEP_COLUMNS = (
    *("rule_set", "messages_saved", "money_saved", "money_saved_low", "money_saved_high"),
    *("users_lost", "users_lost_low", "users_lost_high", "is_best"),
)


def _titled(title: str, frame: pd.DataFrame) -> str:
    currency = frame["currency"].iloc[0]
    return title if frame["currency"].isna().iloc[0] else f"{title} (money in {currency})"


def _texts(frame: pd.DataFrame, *columns: str) -> list[dict[str, object]]:
    from toolkit.analysis import readable
    from toolkit.report.table_columns import masked

    return [{str(name): it for name, it in row.items()} for row in readable(masked(frame), *columns).to_dict("records")]


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    known = frame.astype(object).where(frame.notna(), None)
    return [{str(name): it for name, it in row.items()} for row in known.to_dict("records")]
