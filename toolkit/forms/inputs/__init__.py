"""Inputs that several forms share: target, run, load options, filters and questions."""
