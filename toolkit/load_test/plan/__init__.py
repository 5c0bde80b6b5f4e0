"""The plan of a load test: schedule, mobile pools, permission to load a target, and expectations."""
