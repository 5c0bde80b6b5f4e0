"""Brute force: guesses codes, of one message and of one mobile's many; passes if it gets in no more than tries allow.

smscode load brute_force --duration 1m
locust -f locustfiles/brute_force.py --headless --host http://127.0.0.1:8018 --tries 5
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import abuse
from toolkit.load_test.generator.user import SmsCodeUser


class Guesser(SmsCodeUser):
    """Someone who wants in without the code."""

    weight = 4
    wait_time = constant(0)
    tasks = [abuse.guess]  # noqa: RUF012
    check = registry.BRUTE_FORCE


class Stalker(SmsCodeUser):
    """Someone who wants in as one particular person."""

    wait_time = constant(0)
    tasks = [abuse.guess_across]  # noqa: RUF012
    check = registry.BRUTE_FORCE
