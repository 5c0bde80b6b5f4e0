"""The default limits of the API's contract.

Service, sandbox, load test, simulation and analysis take them from here. Each can be set to other values.
"""

RULES = ("1/60s", "5/3600s", "10/86400s")  # sends to one mobile of one app: at most COUNT in any DURATION
TRIES = 5  # wrong codes after which a message accepts no code
FAILURES_PER_HOUR = 30  # wrong codes after which a mobile accepts no code, over all its messages
TTL_S = 300  # lifetime of a code in seconds
CODE_DIGITS = 6  # length of a code
CODES = 1_000_000  # number of different codes
TEMP_ID = 1  # template of a send
