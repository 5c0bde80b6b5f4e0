"""Calls, of a run or of a period, to a report: HTML, Markdown, JSON, CSV and JUnit XML."""
