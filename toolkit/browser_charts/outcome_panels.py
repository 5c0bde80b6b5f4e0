"""Chart the rate of calls by outcome, stacked, with a panel for each endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from toolkit import number_format
from toolkit.api.wire import Endpoint
from toolkit.browser_charts.panels import Panel, Series
from toolkit.masking import mask_text
from toolkit.outcome_colours import MAX_OUTCOMES, MUTED, OTHER, Outcome, colours_by_outcome, outcome_name


def outcome_panels(
    edges: Sequence[float],
    calls: Mapping[tuple[Endpoint, Outcome], Sequence[int]],
    partial: Sequence[bool],
    height: int = 110,
) -> Iterator[Panel]:
    """Yield a panel for each endpoint that has calls.

    The series "other" sums up all but the most frequent outcomes.

    Args:
        edges: Where buckets of time begin and end, in s.
        calls: The number of calls in each bucket.
        partial: Whether only a part of a bucket's time is covered.
        height: The height of a panel, px.

    >>> counts = {(Endpoint.SEND, 50000): [40, 0], (Endpoint.SEND, 50009): [10, 5]}
    >>> [panel] = outcome_panels([0, 10, 20], counts, [False, False])
    >>> panel.title, {it.name: it.values for it in panel.series}
    ('send: calls per second', {'50000 success': [4.0, 0.0], '50009 out of freq': [1.0, 0.5]})
    """
    totals: Counter[Outcome] = Counter()
    for (_, outcome), counts in calls.items():
        totals[outcome] += sum(counts)
    shown = {outcome for outcome, _ in totals.most_common(MAX_OUTCOMES)}
    colours = colours_by_outcome(shown) | ({OTHER: MUTED} if len(shown) < len(totals) else {})
    widths_s = [end - start for start, end in pairwise(edges)]
    factor, unit = number_format.rate_scale(totals.total() / (sum(widths_s) or 1))
    rates = {(endpoint, outcome): [0.0] * len(widths_s) for endpoint in Endpoint for outcome in colours}
    for (endpoint, outcome), counts in calls.items():
        heights = rates[endpoint, outcome if outcome in shown else OTHER]
        for place, (count, width_s) in enumerate(zip(counts, widths_s, strict=True)):
            heights[place] += count / width_s * factor
    for endpoint in Endpoint:
        series = [
            Series(mask_text(outcome_name(it)), colour, values=rates[endpoint, it])
            for it, colour in colours.items()
            if any(rates[endpoint, it])
        ]
        if series:
            title = f"{endpoint}: calls per {unit}"
            yield Panel("bars", title, series, height, edges, partial=partial, unit_s=factor, empty="no calls")
