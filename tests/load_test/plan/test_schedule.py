import math
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.errors import InputError
from toolkit.load_test.plan.schedule import Ramp, Schedule, Share, Sine, Stage, parse_stages, steady

SHAPES = [
    "30s@50,2m@200,30s@0",
    "1m=50,1m=100,1m=150",
    "1m=20,10s=300,1m=20",
    "10m~50+-30/2m",
    "10s~50+-50/10s,0s@10,5s=0,500ms=7.5",
    "5m@80,1h=80",
]
ramps = st.builds(Ramp, st.floats(0.01, 20), st.floats(0, 100), st.floats(0, 100))
means = st.floats(1, 100)
sines = means.flatmap(
    lambda mean: st.builds(Sine, st.floats(0.01, 20), st.just(mean), st.floats(0.1, mean), st.floats(0.5, 30))
)
shapes = st.lists(ramps | sines, min_size=1, max_size=4).map(tuple)


@given(shapes)
def test_constant_arrivals_are_where_the_integral_is_whole(stages: tuple[Stage, ...]) -> None:
    schedule = Schedule(stages)
    whole = schedule.arrivals(math.inf)
    times = list(schedule.times_ns(seed=1))
    assert len(times) == pytest.approx(math.ceil(whole - 1e-9), abs=1)
    assert times == sorted(times)
    for number, time_ns in enumerate(times):
        assert schedule.arrivals(time_ns / 1e9) == pytest.approx(number, abs=1e-3)


@given(shapes, st.integers(1, 5))
def test_workers_share_constant_arrivals_without_overlap(stages: tuple[Stage, ...], shards: int) -> None:
    schedule = Schedule(stages)
    shared = sorted(time for shard in range(shards) for time in schedule.times_ns(1, shard, shards))
    assert shared == list(schedule.times_ns(1))


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("shards", [1, 3])
def test_poisson_arrivals_are_as_many_as_the_rate_says(text: str, shards: int) -> None:
    schedule = Schedule(parse_stages(text), is_poisson=True)
    times = sorted(time for shard in range(shards) for time in schedule.times_ns(7, shard, shards))
    whole = schedule.arrivals(math.inf)
    assert abs(len(times) - whole) < 4.5 * math.sqrt(whole)
    assert times[-1] < schedule.duration_s * 1e9


def test_poisson_arrivals_are_spread_exponentially_and_drawn_anew_by_each_seed_and_lane() -> None:
    schedule = Schedule(steady(1000), is_poisson=True)
    times = list(islice(schedule.times_ns(seed=1), 100_000))
    gaps_s = [(b - a) / 1e9 for a, b in pairwise(times)]
    assert sum(gaps_s) / len(gaps_s) == pytest.approx(0.001, rel=0.02)
    assert sum(gap > 0.001 for gap in gaps_s) / len(gaps_s) == pytest.approx(math.exp(-1), rel=0.02)
    assert list(islice(schedule.times_ns(seed=1), 10)) == times[:10]
    assert list(islice(schedule.times_ns(seed=2), 10)) != times[:10]
    assert list(islice(schedule.times_ns(1, 1, 2), 10)) != list(islice(schedule.times_ns(1, 0, 2), 10))


@pytest.mark.parametrize("is_poisson", [False, True])
def test_arrivals_can_be_taken_over_in_the_middle(is_poisson: bool) -> None:
    schedule = Schedule(parse_stages("10s@1000,10s=1000"), is_poisson)
    rest = list(schedule.times_ns(1, after_s=10.0))
    assert rest[0] >= 10**10
    assert len(rest) == pytest.approx(10_000, rel=0.05)
    if not is_poisson:
        assert rest == [time for time in schedule.times_ns(1) if time >= 10**10]


def test_a_rate_without_an_end_goes_on() -> None:
    times = Schedule(steady(4)).times_ns(1)
    assert list(islice(times, 4)) == [0, 250_000_000, 500_000_000, 750_000_000]
    assert next(islice(times, 100_000, None)) == (100_004) * 250_000_000


def test_a_stage_ramps_holds_or_swings() -> None:
    assert parse_stages("30s@500, 1.5m=200,500ms@0,1h~10+-5/2m") == (
        Ramp(30, 0, 500),
        Ramp(90, 200, 200),
        Ramp(0.5, 200, 0),
        Sine(3600, 10, 5, 120),
    )


def test_a_stage_without_length_jumps() -> None:
    assert parse_stages("0s@500,1m@500") == (Ramp(0, 500, 500), Ramp(60, 500, 500))


@pytest.mark.parametrize(
    "text", ["", "30s", "30@500", "30s@", "@500", "30s@-1", "30s@1e3", "1m=0", "0s=5", "1m~5+-6/1s", "1m~5+-1/0s"]
)
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="stage"):
        parse_stages(text)


@pytest.mark.parametrize("rate_per_s", [0, -1, math.inf, math.nan])
def test_a_rate_is_a_number_above_zero(rate_per_s: float) -> None:
    with pytest.raises(InputError, match="rate"):
        steady(rate_per_s)


def test_what_came_while_a_share_had_nobody_is_known() -> None:
    schedule = Schedule(parse_stages("10s=100"))
    assert Share(schedule, 1, shard=1, shards=2, after_s=4.0, orphaned_s=1.5).orphaned() == pytest.approx(75)
    assert Share(schedule, 1, after_s=4.0).orphaned() == 0


@pytest.mark.parametrize("is_poisson", [False, True])
def test_who_takes_a_share_over_goes_on_with_its_arrivals(is_poisson: bool) -> None:
    schedule = Schedule(parse_stages("10s@50,20s=50"), is_poisson)
    for shard in range(2):
        whole = list(schedule.times_ns(1, shard, 2))
        assert list(schedule.times_ns(1, shard, 2, after_s=12.5)) == [it for it in whole if it >= 12.5e9]
        assert schedule.count(12.5, 1, shard, 2) == sum(it <= 12.5e9 for it in whole)
        assert schedule.count(30.0, 1, shard, 2) == len(whole)
