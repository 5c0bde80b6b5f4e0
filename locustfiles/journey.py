"""Journey: people who sign in, think, mistype, come too late, ask again or give up; passes if each gets what is due.

smscode load journey --speed 60 --duration 1m
locust -f locustfiles/journey.py --headless --host http://127.0.0.1:8018 --speed 60
"""

from locust import constant

from toolkit.load import claims, journeys
from toolkit.load.journeys import thoughtful
from toolkit.load.user import SmsCodeUser

THINK_S = 12  # typically, to read the message and type the code


class Person(SmsCodeUser):
    """Someone who signs in."""

    wait_time = constant(0)
    claim = claims.JOURNEY
    tasks = {  # noqa: RUF012
        thoughtful(journeys.verify_right, THINK_S): 80,
        thoughtful(journeys.verify_wrong_first, THINK_S): 8,
        thoughtful(journeys.verify_wrong, THINK_S): 2,
        journeys.verify_expired: 2,
        thoughtful(journeys.resend, THINK_S): 4,
        journeys.abandon: 4,
    }
