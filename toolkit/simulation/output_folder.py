"""Write the files of a simulation to its folder, each atomically, and refuse a folder with other files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.api.errors import InputError
from toolkit.atomic_write import partial_path, replacing, write_atomically
from toolkit.records import parquet
from toolkit.records.packed import PACKED_SUFFIX
from toolkit.records.parquet import PARQUET_PARTS
from toolkit.simulation.plan import SimulationPlan
from toolkit.simulation.receipts import RECEIPT_OPTIONS

LABELS_NAME, PRICES_NAME, SETTINGS_NAME = "incidents.json", "prices.toml", "run.json"
_PATTERNS = (
    *(PARQUET_PARTS, "receipts-*.parquet", f"*{PACKED_SUFFIX}", "statement-*.csv"),
    *(LABELS_NAME, PRICES_NAME, SETTINGS_NAME),
)
# A msg_id is stored once in the dictionary of a row group. In larger groups the dictionary would reach its size limit.
_ROW_GROUP_SIZE = 500_000


class OutputFolder:
    """The folder of a simulation.

    Args:
        path: The folder; it is created if needed.
        plan: The plan.

    Raises:
        InputError: The folder can't be written, or contains a simulation of another plan, or other records.
    """

    def __init__(self, path: Path, plan: SimulationPlan) -> None:
        self.path = path
        packages = ("numpy", "phonenumbers")  # other versions give other random numbers and other prefixes
        self._plan = plan.settings() | {"versions": {name: version(name) for name in packages}}
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = partial_path(path / LABELS_NAME)
            probe.touch()
            probe.unlink()
        except OSError as problem:
            raise InputError(f"{path}: the folder can't be written: {problem.strerror}; choose another --out") from None
        self.days_done()

    def days_done(self) -> int:
        """Return the number of days that are complete and labelled."""
        return int(self._read_labels().get("days_done", 0))

    def _read_labels(self) -> Mapping[str, Any]:
        """Return the content of ``incidents.json``, empty if there is no such file."""
        path = self.path / LABELS_NAME
        if not path.exists():
            if others := sorted(it.name for pattern in _PATTERNS for it in self.path.glob(pattern)):
                raise InputError(f"{self.path} contains {others[0]}, but no simulation: choose another --out")
            return {}
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            labels = None
        if not isinstance(labels, dict) or labels.get("plan") != self._plan:
            raise InputError(
                f"{self.path} contains the simulation of another plan: choose another --out, or give the same options"
            )
        return labels

    def day_path(self, day: date) -> Path:
        """Return the path of the calls of a day."""
        return self.path / f"calls-{day.isoformat()}.parquet"

    def receipts_path(self, day: date) -> Path:
        """Return the path of the receipts for the messages of a day."""
        return self.path / f"receipts-{day.isoformat()}.parquet"

    def write_day(self, day: date, calls: pa.Table, receipts: pa.Table) -> None:
        """Write the receipts and the calls of a day; if the calls exist, both are complete."""
        with replacing(self.receipts_path(day)) as partial:
            pq.write_table(receipts, partial, **RECEIPT_OPTIONS)
        with (
            replacing(self.day_path(day)) as partial,
            pq.ParquetWriter(partial, parquet.schema(), **parquet.writer_options()) as writer,
        ):
            writer.write_table(calls, row_group_size=_ROW_GROUP_SIZE)

    def remove_day(self, day: date) -> None:
        """Remove the files of a day."""
        self.day_path(day).unlink(missing_ok=True)
        self.receipts_path(day).unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_atomically(self.path / name, text)

    def write_labels(self, days_done: int, calls: int, labels: list[dict[str, Any]]) -> None:
        """Write ``incidents.json``: the plan, the number of complete days, their calls and the labels."""
        content = {"plan": self._plan, "days_done": days_done, "calls": calls, "incidents": labels}
        self.write_text(LABELS_NAME, json.dumps(content, indent=2) + "\n")

    def write_settings(self) -> None:
        """Write the plan to ``run.json``, from which a report reads settings; keep a ``run.json`` that is there."""
        if not (self.path / SETTINGS_NAME).exists():
            settings = {"settings": {"scenario": "simulate", **self._plan}}
            self.write_text(SETTINGS_NAME, json.dumps(settings, indent=2) + "\n")


class StatementFiles:
    """Writes the statements, a file for each calendar month.

    The files get their final names in ``finish``. Until then, the statements of an earlier, interrupted run stay.
    """

    def __init__(self, folder: Path, header: str) -> None:
        self._folder, self._header = folder, header.encode()
        self._sizes: dict[str, int] = {}  # the bytes of the complete days
        self._sizes_before: dict[str, int] = {}  # the same without the last day

    def add_day(self, lines: Mapping[str, memoryview]) -> None:
        """Append the lines of a day, by the name of their file."""
        self._sizes_before = dict(self._sizes)
        for name, text in lines.items():
            size = self._sizes.setdefault(name, 0)
            with partial_path(self._folder / name).open("r+b" if size else "wb") as file:
                file.seek(size)
                file.write(b"" if size else self._header)
                file.write(text)
                self._sizes[name] = file.tell()

    def discard_last_day(self) -> None:
        """Remove the lines of the last day, even if they were written in part."""
        self._sizes = {name: self._sizes_before.get(name, 0) for name in self._sizes}

    def finish(self, publish: bool) -> None:
        """Rename the files to their final names, or remove them."""
        for name, size in self._sizes.items():
            partial = partial_path(self._folder / name)
            if publish and size:
                os.truncate(partial, size)
                partial.replace(self._folder / name)
            else:
                partial.unlink(missing_ok=True)
