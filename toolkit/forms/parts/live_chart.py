"""Chart a running load test: calls, arrival rate and response time by seconds since its start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from toolkit.browser_charts import Panel, Series
from toolkit.browser_charts.outcome_panels import outcome_panels
from toolkit.forms.parts.live_results import Bucket
from toolkit.outcome_colours import MUTED, PRIMARY, SECONDARY
from toolkit.runs.arrival_counts import ArrivalCounts


def panels(buckets: Sequence[Bucket], paces: Sequence[ArrivalCounts]) -> Iterator[Panel]:
    """Yield the panels of calls by outcome, of intended and achieved journeys, and of response time.

    The first second began before the first call, and the last one goes on: both are partial.
    """
    partial = [place in (0, len(buckets) - 1) for place in range(len(buckets))]
    edges = [it.start_s for it in buckets] + [it.end_s for it in buckets[-1:]]
    kinds = {kind for it in buckets for kind in it.calls}
    yield from outcome_panels(edges, {kind: [it.calls[kind] for it in buckets] for kind in kinds}, partial, height=96)
    if len(paces) > 1:
        yield Panel("lines", "journeys per second", list(_pace_lines(paces)), height=80)
    lines = [
        Series(
            f"p{percentile}",
            colour,
            points=[((it.start_s + it.end_s) / 2, it.waited_ms.get(percentile)) for it in buckets],
        )
        for percentile, colour in ((99, SECONDARY), (50, PRIMARY))
    ]
    yield Panel("lines", "response time (ms)", lines, 110, edges, log=True, empty="no calls")


def _pace_lines(paces: Sequence[ArrivalCounts]) -> Iterator[Series]:
    begun = [it.due - it.dropped for it in paces]
    for name, counts, look in (("intended", [it.due for it in paces], MUTED), ("achieved", begun, PRIMARY)):
        places = pairwise(zip((it.elapsed_s for it in paces), counts, strict=True))
        points = [(to_s, (to - of) / (to_s - of_s)) for (of_s, of), (to_s, to) in places if to_s > of_s]
        yield Series(name, look, points=points, dashed=name == "intended")
