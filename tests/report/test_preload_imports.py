"""Importing the packages of a report while a load test runs."""

from __future__ import annotations

import threading

from toolkit.report.preload_imports import Preload


def test_nothing_is_imported_in_the_background_after_the_block() -> None:
    with Preload():
        assert "preload" in [it.name for it in threading.enumerate()]
    assert "preload" not in [it.name for it in threading.enumerate()]
