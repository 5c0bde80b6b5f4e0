"""Send at the edges of each rate limit's window; pass if every response is the one that the rules require.

smscode load frequency_limits --rule 1/60s --rule 5/3600s --speed 60 --duration 2m
locust -f locustfiles/frequency_limits.py --headless --host http://127.0.0.1:8018 --rule 1/60s --speed 60
"""

from locust import constant

from toolkit.load_test.generator.checks import registry
from toolkit.load_test.generator.journeys import rate_limit_probes
from toolkit.load_test.generator.user import SmsCodeUser


class Prober(SmsCodeUser):
    """Sends to its own mobile at each edge of its windows."""

    weight = 3
    wait_time = constant(0)
    tasks = [rate_limit_probes.probe_edges]  # noqa: RUF012
    check = registry.FREQUENCY_LIMITS
    expected = ("RATE",)


class Rival(SmsCodeUser):
    """Sends to a mobile at the same time as many others."""

    wait_time = constant(0)
    tasks = [rate_limit_probes.send_simultaneously]  # noqa: RUF012
    check = registry.FREQUENCY_LIMITS
    expected = ("RATE",)
