"""What a load test and its parent process agree on: environment variables, and the files of a run's folder.

The calls themselves are in the folder as ``records`` keeps them.
"""

PREFIX = "SMSCODE_"  # of every variable that the toolkit reads
RUN_DIR = "SMSCODE_RUN_DIR"  # the run's folder; without it nothing is recorded
MOBILES = "SMSCODE_MOBILES"  # the pool they come from, as toolkit.load.mobiles reads it
SEED = "SMSCODE_SEED"  # whole number that the run's mobiles are drawn with
LIFELINE_FD = "SMSCODE_LIFELINE_FD"  # read end of a pipe whose other end only the parent holds

STOPPED_NAME = "stopped.txt"  # why the run stopped itself, one line; absent where it didn't
NOTES_NAME = "notes.txt"  # what its user should know, a line each
LOG_NAME = "locust.log"  # locust's stderr
STATS_STEM = "locust"  # locust's own statistics; locust adds .json
