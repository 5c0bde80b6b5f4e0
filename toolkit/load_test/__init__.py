"""Load tests: the plan, the launch of locust in a child process, and the generator that runs inside it."""
