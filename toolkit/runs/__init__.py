"""The folder of a recorded run and its contents: thresholds, check results, arrival counts and progress."""
