"""The counts of arrivals that make the load generator a bottleneck."""

import pytest

from toolkit.load_test.generator.engine.bottleneck import BottleneckMonitor
from toolkit.load_test.plan.schedule import ArrivalCounts


def _bottleneck(**arrivals: int) -> str | None:
    return BottleneckMonitor(ArrivalCounts(**arrivals), 10, None, "0").bottleneck()


@pytest.mark.parametrize("arrivals", [{"due": 0}, {"due": 30, "late": 3}, {"due": 1_000, "late": 10, "dropped": 10}])
def test_few_late_arrivals_are_no_bottleneck(arrivals: dict[str, int]) -> None:
    assert _bottleneck(**arrivals) is None


@pytest.mark.parametrize(
    ("arrivals", "said"),
    [
        ({"due": 30, "late": 4}, "13.3% of the arrivals were begun late"),
        ({"due": 1_000, "late": 11}, "1.1% of the arrivals were begun late"),
        ({"due": 30, "dropped": 1}, "3.3% of the arrivals never got one of 10 connections"),
        ({"due": 2_000, "orphaned": 1_000, "late": 11}, "1.1% of the arrivals were begun late"),
    ],
)
def test_more_late_or_dropped_arrivals_are_a_bottleneck(arrivals: dict[str, int], said: str) -> None:
    assert (_bottleneck(**arrivals) or "").startswith(said)
