"""What a load test and its parent process agree on: environment variables, and the files of a run's folder.

The calls themselves are in the folder as ``records`` keeps them.
"""

from enum import StrEnum

PREFIX = "SMSCODE_"  # of every variable that the toolkit reads
RUN_DIR = "SMSCODE_RUN_DIR"  # the run's folder; without it nothing is recorded
MOBILES = "SMSCODE_MOBILES"  # the pool they come from, as toolkit.load_test.plan.mobile_pools reads it
MAX_MESSAGES = "SMSCODE_MAX_MESSAGES"  # how many may be sent, by all processes together
MAX_COST = "SMSCODE_MAX_COST"  # how much may be spent, a decimal number in the price's currency
ALLOW_TARGET = "SMSCODE_ALLOW_TARGET"  # hosts that may be loaded: [a,b]
I_PAY_FOR_THIS = "SMSCODE_I_PAY_FOR_THIS"  # true: the vendor's host may be loaded too
THRESHOLD = "SMSCODE_THRESHOLD"  # what the run must keep to: [a,b]
RATE = "SMSCODE_RATE"  # journeys begun a second, in an open loop
STAGES = "SMSCODE_STAGES"  # the rate over time, as toolkit.load_test.plan.schedule reads it
ARRIVALS = "SMSCODE_ARRIVALS"  # constant or poisson
MAX_CONNECTIONS = "SMSCODE_MAX_CONNECTIONS"  # of each worker in an open loop
SEED = "SMSCODE_SEED"  # whole number that the run's mobiles are drawn with
RULES = "SMSCODE_RULES"  # what the service is expected to keep to: rules, as toolkit.api.rate_rules reads them
SPEED = "SMSCODE_SPEED"  # of the sandbox's clock
TRIES = "SMSCODE_TRIES"  # wrong codes a message stands
FAILURES_PER_HOUR = "SMSCODE_FAILURES_PER_HOUR"  # wrong codes a mobile stands
TTL_S = "SMSCODE_TTL_S"  # how long a code is valid
LIMIT = "SMSCODE_LIMIT"  # thresholds that tell the rates which the service can take from others: [a,b]
RECORDING = "SMSCODE_RECORDING"  # folder of an earlier run whose arrivals are played again
LIFELINE_FD = "SMSCODE_LIFELINE_FD"  # read end of a pipe whose other end only the parent holds

SUMMARY_NAME, SCHEMA = "run.json", 1  # its settings, figures and verdicts
ENDED_NAME = "ended.txt"  # its first line: why the run ended itself, a Cause and after a blank the reason; else absent
NOTES_NAME = "notes.txt"  # what its user should know, a line each
ARRIVALS_STEM = "arrivals"  # arrivals-N.json: what became of the arrivals of worker N, in an open loop
CLAIMS_NAME = "claims.json"  # how the claims of its scenario stand, where it has any
LOG_NAME = "locust.log"  # locust's stderr
STATS_STEM = "locust"  # locust's own statistics; locust adds .json

THRESHOLD_MISSED, BOTTLENECK, BUDGET_SPENT = 99, 98, 97  # exit codes; the first is a broken claim's too


class Cause(StrEnum):
    """Why a load test ended."""

    FINISHED = "finished"  # its time was over
    INTERRUPTED = "interrupted"  # it was stopped from outside
    REFUSED = "refused"  # every further call would have been refused the same way
    MISSED = "missed"  # a threshold with "abort after" was missed
    BUDGET = "budget"  # what it might spend was spent
