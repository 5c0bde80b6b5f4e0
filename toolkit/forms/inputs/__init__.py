"""Input controls of the forms: target, run, load options, filters and questions."""
