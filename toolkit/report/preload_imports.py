"""Import the packages that a report needs while a load test runs, so that its end does not wait for them.

pandas, DuckDB, Altair, SciPy and the JavaScript engine that draws the pictures take more than two seconds of CPU to
start, longer than everything else between the end of a load test and the shell's prompt.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Self

_MODULES = (
    "toolkit.client",  # for the call to the target at the end
    "toolkit.report.write_files",
    "rich.table",
    "toolkit.analysis.charts",
    "ruptures",
    "scipy.special",
    "phonenumbers.carrierdata",
    "phonenumbers.data.region_CN",
    "pyarrow.dataset",
)
_NICENESS = 5  # 0..19: the load generator and a sandbox on this machine come first, but 10 s are enough for the imports
_EMPTY_CHART = {"data": {"values": []}, "mark": "point"}


class Preload:
    """Imports the packages in a thread. Leaving the ``with`` block ends the thread after its current import.

    Leaving waits for that import. If two threads import modules that need each other, Python gives one thread an
    incomplete module, and its import fails.
    """

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="preload")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        with suppress(ImportError):  # the report names the missing package later
            import vl_convert

            # The engine's threads keep the priority of the thread that starts them: the normal one.
            vl_convert.vegalite_to_svg(_EMPTY_CHART, allowed_base_urls=[])
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
            for module in _MODULES:
                if self._stopped.is_set():
                    return
                import_module(module)
            if not self._stopped.is_set():
                _warm_up()


def _warm_up() -> None:
    """Compile the page's template, and query a table, which imports more of narwhals, pandas and pyarrow."""
    import duckdb
    import narwhals as nw

    from toolkit.analysis.calls_table import collect
    from toolkit.report.html import page_template

    page_template()
    with duckdb.connect() as connection:
        collect(nw.from_native(connection.sql("SELECT 1 AS calls")).group_by("calls").agg(rows=nw.len()))
