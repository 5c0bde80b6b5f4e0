"""Read the counters of a sandbox."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from toolkit.api.return_codes import Kind
from toolkit.api.wire import Endpoint

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The counters of a sandbox since ``started``.

    ``calls`` are by endpoint and kind of return code. ``problem`` is the reason if they are unknown, else "".
    """

    problem: str = ""
    started: datetime | None = None
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def facts(self) -> list[tuple[str, str, str]]:
        """Return its figures: a name, a value and a unit each."""
        totals = Counter[str]()
        for (name, _), count in self.calls.items():
            totals[name] += count
        accepted, verified = self.calls[Endpoint.SEND, Kind.OK], self.calls[Endpoint.VERIFY, Kind.OK]
        failed = sum(count for (_, kind), count in self.calls.items() if kind == Kind.SERVER)
        return [
            ("Calls answered", f"{totals.total():,}", ""),
            ("Sends accepted", f"{accepted:,}", f"of {totals[Endpoint.SEND]:,}"),
            ("Codes verified", f"{verified:,}", f"of {totals[Endpoint.VERIFY]:,}"),
            ("Server errors", f"{failed:,}", ""),
        ]


def read_sandbox_state(metrics_url: str) -> SandboxState:
    """Return the state of a sandbox; one that does not respond has a problem and no counts.

    ``metrics_url`` is the base URL of its /metrics.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with build_opener(ProxyHandler({})).open(f"{metrics_url}/metrics", timeout=_TIMEOUT_S) as response:
            families = list(text_string_to_metric_families(response.read().decode()))
    except (OSError, HTTPException, ValueError) as problem:
        return SandboxState(str(getattr(problem, "reason", problem)) or type(problem).__name__)
    samples = [sample for family in families for sample in family.samples]
    if not any(it.name.startswith("smscode_") for it in samples):
        return SandboxState("the response has no counters of a sandbox")
    calls = Counter[tuple[str, str]]()
    for it in samples:
        if it.name == "smscode_calls_total":
            calls[it.labels["endpoint"], it.labels["kind"]] += int(it.value)
    started = [datetime.fromtimestamp(it.value, UTC) for it in samples if it.name == "process_start_time_seconds"]
    return SandboxState(started=started[0] if started else None, calls=calls)
