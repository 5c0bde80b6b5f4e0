"""Sign in like people do: think, mistype, come too late, ask again, give up; pass if every response is correct.

smscode load journey --speed 60 --duration 1m
locust -f locustfiles/journey.py --headless --host http://127.0.0.1:8018 --speed 60
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.journeys.people import thoughtful
from toolkit.load_test.generator.user import SmsCodeUser

THINK_S = 12  # median time to read the message and type the code


class Person(SmsCodeUser):
    """Signs in."""

    wait_time = constant(0)
    check = registry.JOURNEY
    expected = ("RATE",)
    tasks = {  # noqa: RUF012
        thoughtful(people.verify_right, THINK_S): 80,
        thoughtful(people.verify_wrong_first, THINK_S): 8,
        thoughtful(people.verify_wrong, THINK_S): 2,
        people.verify_expired: 2,
        thoughtful(people.resend, THINK_S): 4,
        people.abandon: 4,
    }
