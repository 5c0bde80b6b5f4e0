"""The vectorised models accept the same sends as plain simulations of each kind."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from support.limited import Clock, FirstSend, LeakyBucket, Rule, Sliding, TokenBucket
from support.probed import KINDS

from toolkit.probe.limiter_models import KINDS as ALL_KINDS
from toolkit.probe.limiter_models import Rules


def rules(kind: int, count: int, window_s: float) -> Rules:
    one = np.ones(1)
    return Rules(
        np.array([kind]), np.array([0]), np.array([count]), one * window_s, one * 0.0, one, one * 0.1, one * 0.0
    )


@pytest.mark.parametrize("rule", [it(3, 7.0) for it in (Sliding, Clock, FirstSend, TokenBucket, LeakyBucket)])
def test_a_model_is_ready_when_the_simulation_accepts(rule: Rule) -> None:
    random, accepted, time_s = Random(1), list[float](), 100.0
    model = rules(ALL_KINDS.index(KINDS[type(rule)]), rule.count, rule.window_s)
    for _ in range(300):
        time_s += random.uniform(0.01, 2)
        allowed = rule.allows(accepted, time_s)
        assert (model.ready_series(accepted)[-1, 0] <= time_s) == allowed
        if allowed:
            accepted.append(time_s)
    assert len(accepted) > 50
