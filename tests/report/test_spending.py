import pytest

from toolkit import analysis
from toolkit.api.wire import Endpoint
from toolkit.report.run_summary import summarize

PRICE = {"price_per_send": "0.045", "currency": "CNY"}


def spent(call, *outcomes, **settings):
    records = [call(Endpoint.SEND, code, error=error) for code, error in outcomes]
    return summarize(analysis.from_records([*records, call(Endpoint.VERIFY, 50000)]), settings)["spent"]


def test_what_was_accepted_or_may_have_been_is_counted_to_the_last_digit(call):
    maybe = [(50000, None), (50000, None), (50019, None), (50104, None), (None, "timeout"), (None, "reset")]
    assert spent(call, *maybe, **PRICE) == {"messages": 6, "cost": "0.270", "currency": "CNY"}


@pytest.mark.parametrize("outcome", [(50009, None), (50014, None), (50006, None), (None, "connect")])
def test_what_certainly_cost_nothing_is_not(call, outcome):
    assert spent(call, outcome, **PRICE) == {"messages": 0, "cost": "0.000", "currency": "CNY"}


def test_without_a_price_nobody_knows_the_cost(call):
    assert spent(call, (50000, None)) == {"messages": 1, "cost": None, "currency": None}
