"""Verify one correct code from many callers at the same time; pass if exactly one caller succeeds each time.

With --recording it repeats the sends and verifies of that run at their times, under the same check.
smscode load replay --users 200 --recording runs/20261124T001823Z
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import simultaneous_verify
from toolkit.load_test.generator.journeys.replay import or_else
from toolkit.load_test.generator.user import SmsCodeUser


class Herald(SmsCodeUser):
    """Gets a code and hands it out."""

    fixed_count = 1
    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.share_code)]  # noqa: RUF012
    check = registry.REPLAY


class Caller(SmsCodeUser):
    """Verifies the code at the same time as many others."""

    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.verify_at_once)]  # noqa: RUF012
    check = registry.REPLAY
    expected = ("RATE",)
