"""Replay: one right code from many callers at the same instant; passes if exactly one of them succeeds, each time.

Of a recorded run it plays every send and verify again, each at its time, and holds those to the same.
smscode load replay --users 50
smscode load replay --users 200 --recording runs/20261124T001823Z
"""

from locust import constant

from toolkit.load import attacks, claims
from toolkit.load.recording import or_else
from toolkit.load.user import SmsCodeUser


class Herald(SmsCodeUser):
    """The one who gets a code and hands it out."""

    fixed_count = 1
    wait_time = constant(0)
    tasks = [or_else(attacks.hand_out)]  # noqa: RUF012
    claim = claims.REPLAY


class Caller(SmsCodeUser):
    """One of many who verify it."""

    wait_time = constant(0)
    tasks = [or_else(attacks.verify_at_once)]  # noqa: RUF012
    claim = claims.REPLAY
