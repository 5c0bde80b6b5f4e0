"""Choose the codes and outcomes of a sandbox's numbers: magic mobiles, and numbers that a test has set."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.api.return_codes import Kind, ReturnCode, find

MAGIC_PREFIX = "199000"


def magic_return_code(mobile: str) -> ReturnCode | None:
    """Return the return code that a magic mobile stands for; None for another mobile.

    A magic mobile is 199000 followed by a return code.

    >>> magic_return_code("19900050014").name
    'NO_MONEY'
    >>> magic_return_code("13800138000") is None
    True
    """
    return find(int(mobile[len(MAGIC_PREFIX) :])) if mobile.startswith(MAGIC_PREFIX) else None


def is_refused(return_code: ReturnCode) -> bool:
    """Return whether a send can be refused with a return code. Verdicts are given by verify calls only."""
    return return_code.kind not in (Kind.OK, Kind.VERDICT)


@dataclass(slots=True)
class Outcome:
    """A return code for the next ``times`` calls; for all calls if ``times`` is None."""

    return_code: ReturnCode
    times: int | None = None

    def take(self) -> ReturnCode | None:
        """Return the return code for one more call; None if the calls are used up."""
        if self.times is not None:
            if self.times < 1:
                return None
            self.times -= 1
        return self.return_code


@dataclass(frozen=True, slots=True)
class NumberRule:
    """The fixed code of a number, and the outcomes of its sends and verify calls."""

    code: str = ""
    send: Outcome | None = None
    verify: Outcome | None = None


@dataclass(slots=True)
class Numbers:
    """The rules of numbers, by app and mobile.

    >>> numbers = Numbers()
    >>> numbers.put(1, "13800138000", NumberRule(send=Outcome(ReturnCode.NO_MONEY, times=1)))
    >>> [numbers.take_send(1, "13800138000") for _ in range(2)]
    [<ReturnCode.NO_MONEY: 50014>, None]
    """

    _rules: dict[tuple[int, str], NumberRule] = field(default_factory=dict)

    def put(self, app_id: int, mobile: str, rule: NumberRule) -> None:
        """Set the rule of a number, in place of an earlier one."""
        self._rules[app_id, mobile] = rule

    def merge(self, app_id: int, mobile: str, rule: NumberRule) -> None:
        """Set the parts that a rule has, and keep the other parts of an earlier one."""
        old = self._rules.get((app_id, mobile), NumberRule())
        merged = NumberRule(rule.code or old.code, rule.send or old.send, rule.verify or old.verify)
        self.put(app_id, mobile, merged)

    def lift(self, app_id: int, mobile: str) -> None:
        """Remove the rule of a number, if it has one."""
        self._rules.pop((app_id, mobile), None)

    def lift_all(self, app_id: int) -> None:
        """Remove the rules of all numbers of an app."""
        self._rules = {key: rule for key, rule in self._rules.items() if key[0] != app_id}

    def code(self, app_id: int, mobile: str) -> str:
        """Return the fixed code of a number; "" if it has none."""
        rule = self._rules.get((app_id, mobile))
        return rule.code if rule else ""

    def take_send(self, app_id: int, mobile: str) -> ReturnCode | None:
        """Return the return code that refuses a send to a number; None if nothing refuses it."""
        rule = self._rules.get((app_id, mobile))
        return rule.send.take() if rule and rule.send else None

    def take_verify(self, app_id: int, mobile: str) -> ReturnCode | None:
        """Return the return code of a verify call for a number; None if the code decides."""
        rule = self._rules.get((app_id, mobile))
        return rule.verify.take() if rule and rule.verify else None

    def __bool__(self) -> bool:
        return bool(self._rules)
