"""Write the traffic of a plan to a folder, day by day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from toolkit.simulation import incident_labels, incidents, simulated_prices
from toolkit.simulation.arrow_tables import to_table
from toolkit.simulation.billing_statement import InjectedError, header, schedule_errors, statement_lines
from toolkit.simulation.incident_labels import AffectedCalls, Label
from toolkit.simulation.output_folder import PRICES_NAME, OutputFolder, StatementFiles
from toolkit.simulation.plan import DAY_NS, SimulationPlan, random_stream
from toolkit.simulation.prefixes import Prefixes
from toolkit.simulation.receipts import to_receipts
from toolkit.simulation.traffic import DayTraffic, generate_days

_DEFAULT_PLAN = SimulationPlan()


@dataclass(frozen=True, slots=True)
class SimulationProgress:
    """The state of a simulation after a day.

    Attributes:
        day: The day.
        path: The file with its calls.
        days: The number of complete days.
        calls: The number of calls in them.
        incidents: The labels so far, as in ``incidents.json``.
    """

    day: date
    path: Path
    days: int
    calls: int
    incidents: tuple[Label, ...]


def simulate(
    folder: str | Path,
    plan: SimulationPlan = _DEFAULT_PLAN,
    *,
    on_day: Callable[[SimulationProgress], object] = lambda _: None,
) -> SimulationProgress:
    """Write a simulation to a folder.

    The folder gets calls-YYYY-MM-DD.parquet for each UTC day, statement-YYYY-MM.csv for each month, incidents.json,
    prices.toml and run.json. A simulation that was interrupted is continued: days that are in the folder are generated
    again, but not written again.

    Args:
        folder: The folder; it is created if needed.
        plan: The plan.
        on_day: A function that is called when a day is complete.

    Returns:
        The state after the last day.

    Raises:
        InputError: The folder can't be written, or contains a simulation of another plan, or other records.

    >>> simulate("month", SimulationPlan(days=30, calls=500_000)).calls  # doctest: +SKIP
    500312
    """
    writer = _Writer(OutputFolder(Path(folder), plan), plan)
    try:
        for day in generate_days(plan, writer.schedule, writer.prefixes):
            on_day(writer.write(day))
    finally:
        writer.finish()
    return writer.progress


class _Writer:
    """Writes days, and counts the calls that incidents affected."""

    progress: SimulationProgress

    def __init__(self, folder: OutputFolder, plan: SimulationPlan) -> None:
        self.prefixes = Prefixes.sample(random_stream(plan, "prefixes"))
        self.schedule = incidents.schedule(plan)
        self._folder, self._plan = folder, plan
        self._prices = simulated_prices.prices(plan, self.schedule)
        self._affected = AffectedCalls(self.schedule, self.prefixes)
        self._scheduled_errors, self._injected_errors = schedule_errors(plan), list[InjectedError]()
        self._statements = StatementFiles(folder.path, header(plan))
        self._statement_days = self._calls = 0
        if not folder.days_done():
            folder.write_labels(0, 0, [])
            folder.write_text(PRICES_NAME, simulated_prices.to_toml(self._prices))
            folder.write_settings()

    def write(self, day: DayTraffic) -> SimulationProgress:
        """Write a day; it is complete as soon as its labels are written, and removed if that fails."""
        date = self._plan.day(day.day_number)
        path = self._folder.day_path(date)
        is_new = not path.exists()
        errors = self._scheduled_errors.get(day.day_number, [])
        lines, injected = statement_lines(
            self._plan, day.day_number, day.sends, self.prefixes.carriers, self._prices, errors
        )
        self._calls += len(day.calls)
        self._affected.add(day)
        self._injected_errors += injected
        progress = SimulationProgress(date, path, day.day_number + 1, self._calls, self._labels(day.day_number))
        try:
            if is_new:
                receipts = to_receipts(self._plan, day.day_number, day.sends, self.prefixes.carriers)
                self._folder.write_day(date, to_table(day.calls, self.prefixes.numbers), receipts)
            self._statements.add_day(lines)
            self._statement_days = progress.days
            if progress.days > self._folder.days_done():
                self._folder.write_labels(progress.days, progress.calls, list(progress.incidents))
        except BaseException:
            if self._folder.days_done() <= day.day_number:
                self._statements.discard_last_day()
                self._statement_days = min(self._statement_days, day.day_number)
                if is_new:
                    self._folder.remove_day(date)
            raise
        self.progress = progress
        return progress

    def _labels(self, day_number: int) -> tuple[Label, ...]:
        """Return the labels up to the end of a day, in the order of time."""
        until_ns = self._plan.start_ns + (day_number + 1) * DAY_NS
        labels = incident_labels.label_incidents(self._plan, self.schedule, self._affected, self.prefixes, until_ns)
        labels += incident_labels.label_statement_errors(self._injected_errors)
        return tuple(sorted(labels, key=lambda label: str(label["started"])))

    def finish(self) -> None:
        """Publish the statements, unless an earlier run has left those of more days."""
        self._statements.finish(publish=self._statement_days >= self._folder.days_done())
