"""People who request a code and type it. Replace this file by a scenario of your own."""

from locust import constant

from toolkit.load_test.generator.journeys import people
from toolkit.load_test.generator.user import SmsCodeUser


class Person(SmsCodeUser):
    """Types nine of ten codes right at once."""

    wait_time = constant(1)
    tasks = {people.verify_right: 9, people.verify_wrong_first: 1}
