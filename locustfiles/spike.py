"""Sign in at ten times the usual rate for a few seconds, as at the start of a sale; pass if every response is correct.

smscode load spike
smscode load spike --stages "1m=500,15s=5000,1m=500" --threshold "p99(send.caller_ms) < 1000"
"""

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.user import SmsCodeUser


class Person(SmsCodeUser):
    """Signs in."""

    stages = "20s=100,5s=1000,20s=100"
    check = registry.JOURNEY
    tasks = {people.verify_right: 90, people.verify_wrong_first: 8, people.verify_twice: 2}  # noqa: RUF012
