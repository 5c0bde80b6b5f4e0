from decimal import Decimal

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


def test_a_line_tells_rates_p99_spending_and_codes() -> None:
    assert format_progress(PROGRESS, ArrivalRate(300.0, 298.6), Price(Decimal("0.045"), "CNY")) == (
        "299 of 300 journeys/s  2,000 calls  512/s  p99 12.3 ms  1,500 messages  67.50 CNY"
        "  50000: 95.00 %  50009: 5.00 %"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert format_progress(PROGRESS, None, None).startswith("2,000 calls  512/s  p99 12.3 ms  1,500 messages  50000:")
    assert format_progress(Progress(0.0, 0, {}, None), None, None) == "0 calls  0 messages"


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
