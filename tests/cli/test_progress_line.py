from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from toolkit.api.return_codes import ReturnCode
from toolkit.api.wire import Endpoint
from toolkit.cli.load import current_rate, format_progress
from toolkit.runs.arrival_counts import ArrivalCounts, ArrivalRate, ArrivalRateMeter
from toolkit.runs.progress import Progress
from toolkit.settings import Price

OUTCOMES = {
    (Endpoint.SEND, ReturnCode.SUCCESS): 1500,
    (Endpoint.SEND, ReturnCode.OUT_OF_FREQ): 100,
    (Endpoint.VERIFY, ReturnCode.SUCCESS): 400,
}
PROGRESS = Progress(4.0, 2000, OUTCOMES, 512.0, messages=1500, p99_ms=12.3456)


def test_a_line_tells_rates_p99_failures_and_spending() -> None:
    price = Price(Decimal("0.045"), "CNY")
    assert format_progress(PROGRESS, ArrivalRate(300.0, 298.6), price, 120) == (
        "299 of 300 journeys/s  2,000 calls  512/s  p99 12.3 ms  50009: 5.00 %  1,500 messages  67.50 CNY"
        "  50000: 95.00 %"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert format_progress(PROGRESS, None, None) == (
        "2,000 calls  512/s  p99 12.3 ms  50009: 5.00 %  1,500 messages  50000: 95.00 %"
    )
    assert format_progress(Progress(0.0, 0, {}, None), None, None) == "0 calls  0 messages"


@given(st.integers(0, 10**9), st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 10**5), st.integers(30, 80))
def test_a_line_fits_its_columns(calls: int, per_s: float, p99_ms: float, in_flight: int, width: int) -> None:
    outcomes = {(Endpoint.SEND, code): calls for code in ReturnCode} if calls else {}
    progress = Progress(
        9.0, calls * len(outcomes), outcomes, per_s, messages=calls, p99_ms=p99_ms, in_flight=in_flight, waiting=calls
    )
    line = format_progress(progress, ArrivalRate(per_s, per_s), Price(Decimal("0.045"), "CNY"), width)
    assert 0 < len(line) <= width


def test_calls_that_hang_are_shown_before_the_outcomes() -> None:
    hung = replace(PROGRESS, in_flight=50, oldest_s=3.25)
    assert format_progress(hung, None, None, 60) == "2,000 calls  512/s  p99 12.3 ms  in flight 50, oldest 3.2 s"
    busy = replace(hung, oldest_s=0.5)
    assert format_progress(busy, None, None, 60) == "2,000 calls  512/s  p99 12.3 ms  50009: 5.00 %"


def test_a_second_without_an_answer_is_a_rate_of_0() -> None:
    assert (
        format_progress(Progress(9.0, 3, {}, 0.0, p99_ms=4000), None, None) == "3 calls  0/s  p99 4,000 ms  0 messages"
    )


def test_there_is_no_rate_when_no_journey_is_due() -> None:
    meter = ArrivalRateMeter()
    assert current_rate(None, meter) is None
    assert current_rate(ArrivalCounts(10.0, 3000, 0, 0, 0, 0), meter) == ArrivalRate(300.0, 300.0)
    # The stages are over: 299 journeys that waited for a connection begin.
    assert current_rate(ArrivalCounts(11.0, 3300, 0, 0, 299, 0), meter) == ArrivalRate(300.0, 1.0)
    assert current_rate(ArrivalCounts(12.0, 3300, 0, 299, 0, 0), meter) is None
