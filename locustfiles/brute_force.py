"""Guess codes, of one message and of the many messages of one mobile; pass if no guess after the last try is accepted.

smscode load brute_force --duration 1m
locust -f locustfiles/brute_force.py --headless --host http://127.0.0.1:8018 --tries 5
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import abuse
from toolkit.load_test.generator.user import SmsCodeUser


class Guesser(SmsCodeUser):
    """Guesses the code of a message."""

    weight = 4
    wait_time = constant(0)
    tasks = [abuse.guess]  # noqa: RUF012
    check = registry.BRUTE_FORCE
    expected = ("RATE",)


class Stalker(SmsCodeUser):
    """Guesses the codes of one particular mobile."""

    wait_time = constant(0)
    tasks = [abuse.guess_across]  # noqa: RUF012
    check = registry.BRUTE_FORCE
    expected = ("RATE",)
