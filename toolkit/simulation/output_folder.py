"""Folder: the files of a simulation. Each appears whole or not at all, and no other plan's are among them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from toolkit.api.errors import InputError
from toolkit.atomic_write import partial_path, replacing, write_atomically
from toolkit.records import parquet
from toolkit.records.packed import PACKED_SUFFIX
from toolkit.records.parquet import PARQUET_PARTS
from toolkit.simulation.billing_statement import HEADER, name_of
from toolkit.simulation.plan import Plan

LABELS_NAME, PRICES_NAME, SETTINGS_NAME = "incidents.json", "prices.toml", "run.json"
_OURS = (PARQUET_PARTS, f"*{PACKED_SUFFIX}", LABELS_NAME, PRICES_NAME, SETTINGS_NAME, "statement-*.csv")
# A message's id is once in the dictionary of a group of that size, which it would outgrow in a larger one.
_ROW_GROUP = 500_000


class Folder:
    """A folder that holds one plan's simulation, or nothing of the kind."""

    def __init__(self, path: Path, plan: Plan) -> None:
        """Take it; raise InputError where it can't be used, or holds what another plan or a run has left."""
        self.path = path
        packages = ("numpy", "phonenumbers")  # others' chance, and others' prefixes, make other records
        self._plan = plan.settings() | {"versions": {name: version(name) for name in packages}}
        self._make()
        self.count_days()

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = partial_path(self.path / LABELS_NAME)
            probe.touch()
            probe.unlink()
        except OSError as problem:
            raise InputError(
                f"{self.path}: no simulation can be kept there: {problem.strerror}; give another --out"
            ) from None

    def count_days(self) -> int:
        """Return how many days are there and labelled."""
        return int(self._read_labels().get("days_done", 0))

    def _read_labels(self) -> Mapping[str, Any]:
        """Return the labels that are there; raise InputError for another plan's, and for files of what has none."""
        path = self.path / LABELS_NAME
        if not path.exists():
            if foreign := sorted(it.name for pattern in _OURS for it in self.path.glob(pattern)):
                raise InputError(f"{self.path} holds {foreign[0]} of something else: give another --out")
            return {}
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            labels = None
        if not isinstance(labels, dict) or labels.get("plan") != self._plan:
            raise InputError(f"{self.path} holds the simulation of another plan: give another --out, or the same plan")
        return labels

    def day_path(self, day: date) -> Path:
        """Return the path of a day's calls."""
        return self.path / f"calls-{day.isoformat()}.parquet"

    def write_calls(self, day: date, table: pa.Table) -> None:
        """Write a day's calls."""
        with (
            replacing(self.day_path(day)) as partial,
            pq.ParquetWriter(partial, parquet.schema(), **parquet.writer_options()) as writer,
        ):
            writer.write_table(table, row_group_size=_ROW_GROUP)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of text."""
        write_atomically(self.path / name, text)

    def write_labels(self, days_done: int, calls: int, labels: list[dict[str, Any]]) -> None:
        """Say how many days and calls are there, and what happened in them."""
        whole = {"plan": self._plan, "days_done": days_done, "calls": calls, "incidents": labels}
        self.write_text(LABELS_NAME, json.dumps(whole, indent=2) + "\n")

    def write_settings(self) -> None:
        """Say what was simulated where a report looks for it, unless a report has been there."""
        if not (self.path / SETTINGS_NAME).exists():
            settings = {"settings": {"scenario": "simulate", **self._plan}}
            self.write_text(SETTINGS_NAME, json.dumps(settings, indent=2) + "\n")


class Statements:
    """The statements while they grow, a file for each calendar month.

    They get their names at the end, so that what an earlier start has left stays until there is more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._file: BinaryIO | None = None
        self._began = self._ends = 0  # where the last day's lines begin and end in the file

    def add(self, day: date, lines: memoryview) -> None:
        """Add a day's lines."""
        if (name := name_of(day)) not in self._names:
            self._close()
            self._ends = 0
            self._file = partial_path(self._folder / name).open("wb")
            self._names.append(name)
        assert self._file
        self._began = self._ends
        self._file.write(b"" if self._began else HEADER.encode("ascii"))
        self._file.write(lines)
        self._ends = self._file.tell()

    def drop(self) -> None:
        """Take the last day's lines back, or what there is of them."""
        self._ends = self._began

    def _close(self) -> None:
        """Close the last file, which is removed where nothing is in it."""
        if self._file:
            self._file.truncate(self._ends)
            self._file.close()
            if not self._ends:
                partial_path(self._folder / self._names.pop()).unlink()

    def finish(self, publish: bool) -> None:
        """Give the files their names, or remove them."""
        self._close()
        for name in self._names:
            partial = partial_path(self._folder / name)
            if publish:
                partial.replace(self._folder / name)
            else:
                partial.unlink()
