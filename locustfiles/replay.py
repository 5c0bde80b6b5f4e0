"""Verify one correct code from many callers at the same time; pass if exactly one of them succeeds each time.

With --recording it repeats every send and verify of that run, each at its time, and checks them likewise.
smscode load replay --users 50
smscode load replay --users 200 --recording runs/20261124T001823Z
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import simultaneous_verify
from toolkit.load_test.generator.journeys.replay import or_else
from toolkit.load_test.generator.user import SmsCodeUser


class Herald(SmsCodeUser):
    """The caller who gets a code and hands it out."""

    fixed_count = 1
    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.share_code)]  # noqa: RUF012
    check = registry.REPLAY


class Caller(SmsCodeUser):
    """One of many callers who verify the code."""

    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.verify_at_once)]  # noqa: RUF012
    check = registry.REPLAY
