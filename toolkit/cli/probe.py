"""`smscode probe`: find the rate limits of an API."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit import number_format
from toolkit.cli.command import WIDTH
from toolkit.cli.output import Json, end_interrupted, fail, say, show, show_json
from toolkit.cli.send_verify import AppKey, BaseUrl, TempId

if TYPE_CHECKING:
    from toolkit.probe.findings import Findings
    from toolkit.probe.prober import ProbeProgress

PERMISSION, _PROBE = "Permission", "Probe"
_LINE_EVERY_S = 10.0  # if stderr is not a terminal


def probe(
    base_url: BaseUrl = None,
    app_key: AppKey = None,
    temp_id: TempId = None,
    *,
    mobiles: Annotated[
        str | None,
        typer.Option(
            help="Mobiles that may be used: file:PATH, one per line. A sandbox takes any pool of `smscode load`.",
            metavar="POOL",
            show_default="uniform, for a sandbox only",
            rich_help_panel=_PROBE,
        ),
    ] = None,
    max_messages: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of sends that were, or may have been, accepted.",
            metavar="NUMBER",
            min=1,
            show_default="100, for a sandbox only",
            rich_help_panel=_PROBE,
        ),
    ] = None,
    max_duration: Annotated[
        str,
        typer.Option(
            help="Maximum duration of the probe. A daily limit needs more than 24h.",
            metavar="DURATION",
            rich_help_panel=_PROBE,
        ),
    ] = "10m",
    scope: Annotated[
        str,
        typer.Option(
            help="Scope of the limits to find: of a mobile only, or also of the app, which gets half of the messages.",
            metavar="mobile|both",
            rich_help_panel=_PROBE,
        ),
    ] = "both",
    speed: Annotated[
        float,
        typer.Option(
            help="Speed of the service's clock relative to real time: the --speed of a sandbox.",
            metavar="FACTOR",
            rich_help_panel=_PROBE,
        ),
    ] = 1.0,
    allow_target: Annotated[
        list[str] | None,
        typer.Option(
            help="Host that may be probed although it is not a sandbox on this machine. Repeatable.",
            metavar="HOST",
            show_default="sandboxes on this machine only",
            rich_help_panel=PERMISSION,
        ),
    ] = None,
    i_pay_for_this: Annotated[
        bool,
        typer.Option(
            "--i-pay-for-this",
            help="Allow the vendor's own host too, which bills each message.",
            show_default=False,
            rich_help_panel=PERMISSION,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Find the rate limits of an API: kind, count and window of each rule. Ctrl-C ends it early, with its findings.

    Examples:
        Find the limits of the sandbox that `smscode serve --speed 60` runs:

        $ smscode probe --speed 60 --max-duration 3m --max-messages 12
        ...
        --rule 1/60s

        Probe another API with 30 messages, to mobiles that are yours:

        $ smscode probe --mobiles file:mine.txt --max-messages 30 --max-duration 2h --allow-target api.example.com
        ...

    """
    from toolkit.api.durations import parse_duration
    from toolkit.probe.probe_run import Probe, play
    from toolkit.settings import load_price, load_target

    duration_s = parse_duration(max_duration)
    target = load_target(base_url=base_url, app_key=app_key, temp_id=temp_id)
    request = Probe(duration_s, mobiles, max_messages, speed, scope, tuple(allow_target or ()), i_pay_for_this)
    plan = request.check(target)
    price = load_price()
    say(
        f"Probing {target.base_url} with at most {number_format.plural(plan.max_messages, 'message')} to"
        f" {number_format.plural(len(plan.mobiles), 'mobile')} in {number_format.duration(duration_s)}."
        " Ctrl-C ends it early."
    )
    progress = _Progress()
    result = play(request, target, plan, progress.show)
    progress.end()
    findings = result.findings
    cost = number_format.money(findings.messages * price.per_send, price.currency) if price else ""
    show_json(findings.as_json()) if as_json else _show(findings, cost)
    if result.interrupt:
        end_interrupted(result.interrupt)
    if result.code:
        fail(result.problem, result.code)


class _Progress:
    """Shows the state of a probe on stderr: one line that changes on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._is_live = sys.stderr.isatty()
        self._shown: tuple[object, ...] = ()
        self._next_s = 0.0

    def show(self, progress: ProbeProgress) -> None:
        """Show the progress."""
        state = (progress.messages, len(progress.found), progress.unknown)
        if not self._is_live and state == self._shown and progress.elapsed_s < self._next_s:
            return
        self._shown, self._next_s = state, progress.elapsed_s + _LINE_EVERY_S
        line = "  ".join(
            [
                f"{number_format.duration(progress.elapsed_s)}: {number_format.plural(progress.messages, 'message')}",
                f"{progress.refused:,} refused",
                *([f"{progress.unknown:,} unknown"] if progress.unknown else []),
                *([f"found: {'; '.join(progress.found)}"] if progress.found else []),
                progress.next.reason,
            ]
        )
        if self._is_live:
            print(f"\r\x1b[K{line[: WIDTH - 1]}", end="", file=sys.stderr, flush=True)
        else:
            say(line)

    def end(self) -> None:
        """Clear the line."""
        if self._is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(findings: Findings, cost: str) -> None:
    show(
        [
            {
                "scope": str(it.scope),
                "kind": str(it.kind) if it.window_s else "not known",
                "count": it.count,
                "window": _window(it.window_s, it.window_low_s, it.window_high_s),
                "confidence": number_format.share(it.confidence) if it.window_s else "",
                "rule": str(it),
            }
            for it in findings.rules
        ],
        title="Rules",
    )
    print("\nOptions for smscode serve and smscode load frequency_limits")
    nothing = (
        "none of the rules is a sliding window with a confidence of 90 %" if findings.rules else "no rules were found"
    )
    print("\n".join(findings.rule_options) or nothing)
    print("\nNot reached")
    for text in findings.not_reached:
        print(f"- {text}")
    spent = f"{number_format.plural(findings.messages, 'message')}{f' ({cost})' if cost else ''}"
    unknown = f", {findings.unknown:,} of them without a usable response" if findings.unknown else ""
    print(f"\nCost: {spent}{unknown}. Refused sends, which cost nothing: {findings.refused:,}.")
    if findings.retry_after:
        print(f"{findings.retry_after}.")
    print(
        f"The probe ended after {number_format.duration(findings.elapsed_s)} of the target's time: {findings.stopped}."
    )


def _window(window_s: float | None, low_s: float, high_s: float | None) -> str:
    if window_s is None or high_s is None:
        return f"above {low_s:,.1f} s"
    return f"{window_s:,.1f} s ({low_s:,.1f} to {high_s:,.1f})"
