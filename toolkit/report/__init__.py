"""Reports on runs and logs: measure the calls once, build sections, write HTML, Markdown, JSON, CSV and JUnit XML."""
