"""Record the results of calls, count them and report them to locust."""
