"""Writing: a plan's traffic, day by day, into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from toolkit.simulation import incidents, labels, message_prices
from toolkit.simulation.arrow_tables import to_table
from toolkit.simulation.billing_statement import Planted, planted_on, write_lines
from toolkit.simulation.incidents import Incident
from toolkit.simulation.labels import Label, Tally
from toolkit.simulation.output_folder import PRICES_NAME, Folder, Statements
from toolkit.simulation.plan import DAY_NS, Plan, dice
from toolkit.simulation.prefixes import Prefixes
from toolkit.simulation.traffic import Day, draw_days

_MONTH = Plan()


@dataclass(frozen=True, slots=True)
class Written:
    """A day that is whole. ``days`` and ``calls`` count what is there so far; the last day's is all there is."""

    day: date
    path: Path
    days: int
    calls: int
    incidents: tuple[Label, ...]


def simulate(
    folder: str | Path, plan: Plan = _MONTH, *, on_day: Callable[[Written], object] = lambda _: None
) -> Written:
    """Simulate a plan into a folder and return how it ended; ``on_day`` is told of each day when it is whole.

    The folder gets calls-YYYY-MM-DD.parquet for each UTC day, incidents.json, prices.toml, statement-YYYY-MM.csv for
    each month and run.json. What is there of the same plan is made again, in memory, and not written again: an
    interrupted simulation goes on. Raise InputError for a folder that holds something else.
    """
    writing = _Writing(Folder(Path(folder), plan), plan)
    try:
        for day in draw_days(plan, writing.happening, writing.prefixes):
            on_day(writing.write(day))
    finally:
        writing.finish()
    return writing.written


class _Writing:
    """Writes days, and counts what is to be said of them."""

    written: Written

    def __init__(self, folder: Folder, plan: Plan) -> None:
        self.prefixes = Prefixes.draw(dice(plan, "prefixes"))
        self.happening: tuple[Incident, ...] = incidents.place(plan)
        self._folder, self._plan = folder, plan
        self._prices = message_prices.prices(plan, self.happening)
        self._tally = Tally(self.happening, self.prefixes)
        self._differences, self._planted = planted_on(plan), list[Planted]()
        self._statements = Statements(folder.path)
        self._covered = self._calls = 0  # days whose lines are in the statements, and their calls
        if not folder.count_days():
            folder.write_labels(0, 0, [])
            folder.write_text(PRICES_NAME, message_prices.to_toml(self._prices))
            folder.write_settings()

    def write(self, day: Day) -> Written:
        """Write a day, or nothing of it: it counts from when it is labelled."""
        date = self._plan.day(day.number)
        path = self._folder.day_path(date)
        is_new = not path.exists()
        lines = self._fold(day, date)
        written = self._tell(day, date, path)
        try:
            if is_new:
                self._folder.write_calls(date, to_table(day.calls, self.prefixes.numbers))
            self._statements.add(date, lines)
            self._covered = written.days
            if written.days > self._folder.count_days():
                self._folder.write_labels(written.days, written.calls, list(written.incidents))
        except BaseException:
            self._take_back(day, path if is_new else None)
            raise
        self.written = written
        return written

    def _fold(self, day: Day, date: date) -> memoryview:
        """Count what a day had, and return its lines of the statement."""
        price, differences = message_prices.per_segment(self._prices, date), self._differences.get(day.number, [])
        lines, planted = write_lines(self._plan, day.number, day.sends, self.prefixes.carriers, price, differences)
        self._calls += len(day.calls)
        self._tally.add(day)
        self._planted += planted
        return lines

    def _tell(self, day: Day, date: date, path: Path) -> Written:
        until_ns = self._plan.start_ns + (day.number + 1) * DAY_NS
        said = labels.label(self._plan, self.happening, self._tally, self.prefixes, until_ns)
        said = sorted(said + labels.label_differences(self._planted), key=lambda it: str(it["started"]))
        return Written(date, path, day.number + 1, self._calls, tuple(said))

    def _take_back(self, day: Day, path: Path | None) -> None:
        """Remove what there is of a day, unless it was labelled in spite of all."""
        if self._folder.count_days() <= day.number:
            self._statements.drop()
            self._covered = min(self._covered, day.number)
            if path:
                path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Leave the statements of the days that are whole, unless an earlier start has left more."""
        self._statements.finish(publish=self._covered >= self._folder.count_days())
