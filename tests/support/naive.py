"""The rules, said again as plainly as can be: what a store is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from toolkit.api.rate_rules import Rule
from toolkit.api.return_codes import ReturnCode
from toolkit.service.core.policy import HOUR_MS, Policy


@dataclass
class _Message:
    mobile: int
    expires_ms: int
    tries: int = 0
    verified: bool = False


@dataclass
class Naive:
    """One app, whose every event is remembered and counted anew."""

    policy: Policy
    balance: int
    sends: list[tuple[int, int]] = field(default_factory=list)  # when, to which mobile
    failures: list[tuple[int, int]] = field(default_factory=list)
    messages: list[_Message] = field(default_factory=list)

    def send(self, now_ms: int, mobile: int, ttl_ms: int, segments: int) -> tuple[ReturnCode, int]:
        to_mobile = wait_ms(now_ms, (time for time, to in self.sends if to == mobile), self.policy.rules)
        if wait := max(to_mobile, wait_ms(now_ms, (time for time, _ in self.sends), self.policy.app_rules)):
            return ReturnCode.OUT_OF_FREQ, wait
        if self.balance < segments:
            return ReturnCode.NO_MONEY, 0
        self.balance -= segments
        self.sends.append((now_ms, mobile))
        self.messages.append(_Message(mobile, now_ms + ttl_ms))
        return ReturnCode.SUCCESS, 0

    def verify(self, now_ms: int, which: int, right: bool) -> tuple[ReturnCode, int]:
        message = self.messages[which]
        failures = (time for time, of in self.failures if of == message.mobile)
        if wait := wait_ms(now_ms, failures, [Rule(self.policy.failures_per_hour, HOUR_MS // 1000)]):
            return ReturnCode.OUT_OF_FREQ, wait
        if message.verified:
            return ReturnCode.VERIFIED_CODE, 0
        if now_ms >= message.expires_ms or message.tries >= self.policy.tries:
            return ReturnCode.EXPIRED_CODE, 0
        if right:
            message.verified = True
            return ReturnCode.SUCCESS, 0
        message.tries += 1
        self.failures.append((now_ms, message.mobile))
        return ReturnCode.INVALID_CODE, 0


def wait_ms(now_ms: int, times: Iterable[int], rules: Iterable[Rule]) -> int:
    """Return how long until no rule counts too many: one at t has left its window at t + window."""
    kept, wait = list(times), 0
    for rule in rules:
        counted = [time for time in kept if time + rule.window_ms > now_ms]
        if len(counted) >= rule.count:
            wait = max(wait, sorted(counted)[-rule.count] + rule.window_ms - now_ms)
    return wait
