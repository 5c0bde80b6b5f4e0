"""Sign in at a constant rate for hours; pass if every response is correct until the end.

smscode load soak
smscode load soak --rate 500 --duration 8h --threshold "p99(send.caller_ms) < 250"
"""

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.user import SmsCodeUser


class Person(SmsCodeUser):
    """Signs in."""

    stages = "5m@200,4h=200"
    check = registry.JOURNEY
    tasks = {people.verify_right: 90, people.verify_wrong_first: 8, people.verify_twice: 2}  # noqa: RUF012
