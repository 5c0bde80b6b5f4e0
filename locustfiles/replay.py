"""Replay: one right code from many callers at the same instant; passes if exactly one of them succeeds, each time.

Of a recorded run it plays every send and verify again, each at its time, and holds those to the same.
smscode load replay --users 50
smscode load replay --users 200 --recording runs/20261124T001823Z
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import simultaneous_verify
from toolkit.load_test.generator.journeys.replay import or_else
from toolkit.load_test.generator.user import SmsCodeUser


class Herald(SmsCodeUser):
    """The one who gets a code and hands it out."""

    fixed_count = 1
    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.share_code)]  # noqa: RUF012
    check = registry.REPLAY


class Caller(SmsCodeUser):
    """One of many who verify it."""

    wait_time = constant(0)
    tasks = [or_else(simultaneous_verify.verify_at_once)]  # noqa: RUF012
    check = registry.REPLAY
