"""Sum up a run in a few lines: for the end of `smscode load` and for the page of a CI job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit import number_format
from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.masking import mask_text
from toolkit.report.exit_reasons import ExitReason, sort_reasons
from toolkit.report.model import INCONCLUSIVE, Fact, RunDigest
from toolkit.report.run_result import RunResult
from toolkit.runs.exit_codes import ExitCode
from toolkit.runs.run_folder import Cause
from toolkit.runs.thresholds import Measure, Status

_FAILURES = (ExitCode.NO_ANSWER, ExitCode.REFUSED, ExitCode.FAILED)  # the other codes prove nothing about the target
_MAX_OUTCOMES = 4
_PERCENTILES = ("p50", "p95", "p99")


def digest(result: RunResult, others: Sequence[ExitReason] = (), *, has_conditions: bool = False) -> RunDigest:
    """Sum up a run.

    Args:
        result: the run.
        others: reasons for the exit code of a report that are not the run's own, such as those of ``--fail-if``.
        has_conditions: whether the report judged conditions.
    """
    found = sort_reasons([*result.reasons, *others])
    verdict = "PASS" if result.verdicts or result.checks or has_conditions else ""
    if found:
        verdict = "FAIL" if found[0].code in _FAILURES and not _proves_nothing(result, others) else INCONCLUSIVE
    reasons = tuple(mask_text(it.text) for it in found)
    facts = tuple(Fact(it.label, mask_text(it.value)) for it in _facts(result))
    return RunDigest(verdict, mask_text(_headline(result)), reasons, facts)


def _proves_nothing(result: RunResult, others: Sequence[ExitReason]) -> bool:
    """Return whether a killed run shows no failure, although its exit code is that of a failed run."""
    statuses = [*(it.status for it in result.verdicts), *(it.status for it in result.checks)]
    has_calls = any(isinstance(outcome, int) for _, outcome in result.outcomes)
    is_killed = result.settings.get("ended") == Cause.INCOMPLETE or bool(result.settings.get("unrecorded"))
    return is_killed and has_calls and not (Status.FAIL in statuses or others)


def _headline(result: RunResult) -> str:
    settings = result.settings
    if "scenario" not in settings:
        return f"{result.name}: {number_format.plural(sum(result.outcomes.values()), 'call')}"
    parts = []
    if users := settings.get("users"):
        parts.append(number_format.plural(int(str(users)), "user"))
    elif load := settings.get("stages") or settings.get("rate_per_s"):
        parts.append(str(load) if settings.get("stages") else f"{load:g} journeys/s")
    duration_s: Any = settings.get("duration_s")
    parts += [f"for {number_format.duration(duration_s)}"] if duration_s else []
    parts += [f"against {target}"] if (target := settings.get("target")) else []
    parts = parts or [number_format.plural(sum(result.outcomes.values()), "call")]
    return f"{settings['scenario']}: {' '.join(parts)}"


def _facts(result: RunResult) -> Iterator[Fact]:
    settings, calls = result.settings, sum(result.outcomes.values())
    pacing = settings.get("pacing")
    if isinstance(pacing, Mapping):
        rates = (number_format.rate(pacing.get(name)) for name in ("achieved_per_s", "intended_per_s"))
        dropped = int(pacing.get("dropped") or 0)
        suffix = f", {dropped:,} dropped" if dropped else ""
        yield Fact("journeys per s", f"{' of '.join(rates)} intended{suffix}")
    yield Fact("calls per s", number_format.rate(calls / result.sending_s if calls and result.sending_s else None))
    if "ended" in settings:  # only a load test has expected outcomes
        failed = sum(result.failed.values())
        yield Fact(
            "failed calls", f"{failed:,} of {calls:,} ({number_format.share(failed / calls if calls else None)})"
        )
    for endpoint in Endpoint:
        times: Any = result.summary["endpoints"]
        caller = times[endpoint.value][Measure.CALLER_MS.value]
        if caller["p50"] is not None:
            shown = (f"{name} {number_format.milliseconds(caller[name])}" for name in _PERCENTILES)
            yield Fact(f"{endpoint}, ms", "  ".join(shown))
    spent: Any = result.summary["spent"]
    cost = f", {number_format.money(float(spent['cost']), spent['currency'])}" if spent["cost"] is not None else ""
    accepted = result.outcomes.get((Endpoint.SEND, ReturnCode.SUCCESS), 0)
    at_most = "at most " if spent["messages"] != accepted else ""  # failed sends may have been billed, too
    yield Fact("messages", f"{at_most}{spent['messages']:,}{cost}")
    by_outcome: Counter[int | str] = Counter()
    for (_, outcome), count in result.outcomes.items():
        by_outcome[outcome] += count
    codes = [f"{it} {number_format.share(n / calls)}" for it, n in by_outcome.most_common(_MAX_OUTCOMES)]
    more = len(by_outcome) - _MAX_OUTCOMES
    yield Fact("return codes", "  ".join(codes + [f"{more} more"] * (more > 0)) or number_format.MISSING)
    if "ended" in settings:
        target = f"the target: {settings['saturation']}" if settings.get("saturation") else "none"
        yield Fact("bottleneck", str(settings.get("bottleneck") or target))
