"""Read the lines of a log as calls, batch by batch, and keep a record of each file."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from toolkit.analysis.source_record import SourceRecord, UnreadLines
from toolkit.analysis.sources.line_to_call import (
    LINES,
    call_query,
    column_names,
    is_path,
    present_fields,
    transform_query,
)
from toolkit.analysis.sources.log_formats import (
    ALB_LATENCIES,
    COMBINED,
    COMMON,
    MESSAGE_COLUMNS,
    ColumnMap,
    LineFormat,
    alb_format,
    csv_format,
    is_csv_header,
    parse_log_format,
    repair_json,
    unwrapper,
)
from toolkit.analysis.sources.text_files import (
    MAX_LINE_CHARS,
    STDIN,
    LineBatch,
    Progress,
    check_encoding,
    read_batches,
    undecoded,
)
from toolkit.api.errors import InputError
from toolkit.masking import mask_text
from toolkit.records.call_record import RecordBuilder, hash64, unknown_message, valid_prefix
from toolkit.records.parquet import schema
from toolkit.time_zone import parse_timezone

_YEAR_2000_NS = 946_684_800 * 10**9
_QUOTED_CHARS, _NUMBERED_LINES, _SAMPLE_LINES = 160, 5, 100
_KEYED_LINES = 1000  # of a batch, whose keys tell the fields of a file
_CODE = re.compile(r'(?i)(?<![a-z_])(code(?:\\x22|\\?")?\s*[:=]\s*(?:\\x22|\\?")?)\d+')
_WHOLE_FLOAT = re.compile(r"(\d+)\.0+")  # as pandas writes a number in a column with gaps
_NOT_JSON, _NOT_IN_FORMAT, _TOO_LONG = "not a JSON object", "not in the log's format", "longer than 1 MiB"
_NUL = "has bytes that are not text: for UTF-16 give the encoding utf-16-le or utf-16-be"

Write = Callable[[pa.Table], object]


class LogReader:
    """Reads files of calls as text.

    Args:
        columns: names of a log's columns by field.
        log_format: nginx's log format, for an access log that isn't JSON. By default the combined and the common format
            and that of AWS load balancers are known.
        master_secret: the key of the mobiles' digests; without it the key is random.
        timezone: for times that name none.
        encoding: of the files; default UTF-8.
    """

    def __init__(
        self,
        columns: ColumnMap | None = None,
        log_format: str | None = None,
        master_secret: str = "",
        timezone: str = "UTC",
        encoding: str | None = None,
    ) -> None:
        check_encoding(encoding)
        self.names = column_names(columns)
        self.given = frozenset(columns or ())
        self.columns: dict[str, tuple[str, ...]] = {
            name: (it,) if isinstance(it, str) else tuple(it) for name, it in (columns or {}).items()
        }
        self.wanted = frozenset({*MESSAGE_COLUMNS, *(name for names in self.names.values() for name in names)})
        known = alb_format(), parse_log_format(COMBINED), parse_log_format(COMMON)
        self.formats = known if log_format is None else (parse_log_format(log_format),)
        self.has_own_format = log_format is not None
        self.encoding, self.timezone = encoding, parse_timezone(timezone)
        self.digests = RecordBuilder.of("", "", "", master_secret or secrets.token_hex())

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection that parses the lines; opening it takes longer than reading a small Parquet file."""
        connection = duckdb.connect()
        connection.execute("SET TimeZone = $1", [self.timezone])
        return connection

    def read(self, path: str, write: Write, on_progress: Progress = lambda *_: None) -> SourceRecord:
        """Pass the calls of a file to ``write`` as tables with the schema of CallRecord, and return its record.

        Raises InputError for a damaged file.
        """
        file = _File(self, path, write)
        for batch in read_batches(path, self.encoding, on_progress):
            file.add(batch)
        return file.record()


@dataclass(slots=True)
class _Reason:
    rows: int = 0
    lines: list[int] = field(default_factory=list)
    text: str = ""


class _File:
    """The state of one file while it is read."""

    def __init__(self, reader: LogReader, path: str, write: Write) -> None:
        self.reader, self.path, self.write = reader, path, write
        self.name = "stdin" if path == STDIN else Path(path).name.partition(".")[0]
        self.csv: LineFormat | None = None
        self.unwrap: Callable[[str], str] | None = None
        self.is_started = False
        self.lines = self.calls = self.without_zone = self.early = self.undecoded = 0
        self.others: Counter[str] = Counter()
        self.inferred: Counter[int] = Counter()
        self.unread: dict[str, _Reason] = {}
        self.fields: set[str] = set()
        self.present: set[str] = set()
        self.has_format = False

    def add(self, batch: LineBatch) -> None:
        """Read a batch of lines."""
        numbered = [
            (number, line) for number, line in enumerate(batch.lines, batch.first) if line and not line.isspace()
        ]
        if not numbered:
            return
        if not self.is_started:
            numbered = self._start(numbered)
        self.lines += len(numbered)
        self.undecoded += undecoded(batch.lines)
        if self.unwrap:
            numbered = [(number, self.unwrap(line)) for number, line in numbered]
        for number, line in numbered:
            if len(line) > MAX_LINE_CHARS:
                self._add_unread(_TOO_LONG, number, line)
        numbered = [it for it in numbered if len(it[1]) <= MAX_LINE_CHARS]
        texts = numbered if self.csv else [it for it in numbered if not it[1].lstrip().startswith("{")]
        if not self.csv:
            self._add_json([it for it in numbered if it[1].lstrip().startswith("{")] if texts else numbered)
        for format_ in (self.csv,) if self.csv else self.reader.formats:
            texts = self._add_texts(texts, format_)
        for number, line in texts:
            reason = f"not {len(self.csv.names)} values, as in the header" if self.csv else _NOT_IN_FORMAT
            self._add_unread(_NUL if "\0" in line else reason, number, line)

    def _start(self, numbered: list[tuple[int, str]]) -> list[tuple[int, str]]:
        """Decide by the first lines whether a file is CSV, or wrapped by another program."""
        self.is_started = True
        first = numbered[0][1]
        is_named_csv = ".csv" in [suffix.lower() for suffix in Path(self.path).suffixes]
        if is_named_csv or is_csv_header(first, self.reader.names):
            self.csv = csv_format(first)
            names = [name for name in self.csv.names if name in self.reader.wanted]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise InputError(f"{self.path} has the column {twice!r} twice: rename one of them")
            return numbered[1:]
        self.unwrap = unwrapper([line for _, line in numbered[:_SAMPLE_LINES]])
        return numbered

    def _add_json(self, numbered: Sequence[tuple[int, str]], *, is_repaired: bool = False) -> None:
        if not numbered:
            return
        connection = self.reader.connection
        numbers, lines = zip(*numbered, strict=True)
        table = pa.table({"number": pa.array(numbers, pa.int64()), "line": pa.array(lines, pa.string())})
        connection.register("json_lines", table)
        split = connection.sql(transform_query(self.reader.wanted)).to_arrow_table()
        keys = connection.sql(
            "SELECT DISTINCT unnest(json_keys(line))"
            f" FROM (FROM json_lines LIMIT {_KEYED_LINES}) WHERE json_valid(line)"
        )
        found = {key for (key,) in keys.fetchall()}
        self.present |= found & self.reader.wanted
        self.fields |= present_fields(self.reader.names, found)
        invalid = set(pc.filter(split["number"], pc.invert(split["is_json"])).to_pylist())
        valid = split.filter(split["is_json"]) if invalid else split
        present = [name for name in self.reader.wanted if valid[name].null_count < valid.num_rows]
        self.present |= set(present)
        self.fields |= present_fields(self.reader.names, {name for name in present if is_path(name)})
        if valid.num_rows:
            self._add_columns(valid.select(["number", *present]), numbered, present)
        repaired = []
        for number, line in numbered if invalid else ():
            if number in invalid:
                json_line = None if is_repaired else repair_json(line)
                if json_line is None:
                    self._add_unread(_NOT_JSON, number, line)
                else:
                    repaired.append((number, json_line))
        self._add_json(repaired, is_repaired=True)

    def _add_texts(self, numbered: list[tuple[int, str]], format_: LineFormat) -> list[tuple[int, str]]:
        """Read the lines that are in a format and return the others."""
        rows, numbers, others = [], [], []
        for number, line in numbered:
            values = format_.split(line)
            if values is None:
                others.append((number, line))
            else:
                rows.append(values)
                numbers.append(number)
        if rows:
            self.present |= set(format_.names) & self.reader.wanted
            self.has_format |= format_ is not self.csv
            columns = dict(zip(format_.names, zip(*rows, strict=True), strict=True))
            wanted = {name: pa.array(it, pa.string()) for name, it in columns.items() if name in self.reader.wanted}
            wanted |= {name: pa.array(columns[name], pa.string()) for name in ALB_LATENCIES if name in columns}
            table = pa.table({"number": pa.array(numbers, pa.int64()), **wanted})
            self.fields |= present_fields(self.reader.names, wanted)
            self.fields |= {"latency_s"} if set(ALB_LATENCIES) <= set(wanted) else set()
            self._add_columns(table, numbered, list(wanted))
        return others

    def _add_columns(self, table: pa.Table, numbered: Sequence[tuple[int, str]], present: Sequence[str]) -> None:
        """Turn columns into calls and write them; count the other lines."""
        reader = self.reader
        reader.connection.register(LINES, table)
        found = reader.connection.sql(call_query(reader.names, reader.given, present)).to_arrow_table()
        is_call = pc.and_(pc.is_null(found["other"]), pc.is_null(found["unread"]))
        for count in pc.value_counts(found["other"].drop_null()).to_pylist():
            self.others[count["values"]] += count["counts"]
        unread = found.filter(pc.is_valid(found["unread"])).select(["number", "unread"]).to_pylist()
        texts = dict(numbered) if unread else {}
        for row in sorted(unread, key=lambda row: row["number"]):
            self._add_unread(row["unread"], row["number"], texts[row["number"]])
        calls = found if pc.all(is_call).as_py() else found.filter(is_call)
        if not calls.num_rows:
            return
        self.calls += calls.num_rows
        self.without_zone += pc.sum(calls["is_without_zone"]).as_py()
        self.early += pc.sum(pc.less(calls["started_ns"], _YEAR_2000_NS)).as_py()
        for count in pc.value_counts(calls.filter(calls["is_inferred"])["return_code"]).to_pylist():
            self.inferred[count["values"]] += count["counts"]
        self.write(self._finish(calls))

    def _finish(self, calls: pa.Table) -> pa.Table:
        """Add the keys and names, and return a table with the schema of CallRecord."""
        mobiles = calls["mobile"].combine_chunks().dictionary_encode()
        digests = [self._digest(text) for text in mobiles.dictionary.to_pylist()]
        keys = pa.array([key for key, _ in digests], pa.int64()).take(mobiles.indices)
        prefixes = pa.array([prefix for _, prefix in digests], pa.string()).take(mobiles.indices)
        msg_keys = pa.array(map(hash64, calls["msg_id"].to_pylist()), pa.int64())
        columns: dict[str, Any] = {name: calls[name] for name in calls.column_names}
        columns["mobile_key"] = pc.coalesce(keys, calls["mobile_key"])
        columns["prefix"] = pc.coalesce(prefixes, calls["prefix"])
        columns["msg_key"] = msg_keys
        messages = calls["message"].combine_chunks().dictionary_encode()
        masked = [unknown_message(0, text) for text in messages.dictionary.to_pylist()]
        columns["message"] = pa.array(masked, pa.string()).take(messages.indices)
        for name in ("run", "source"):
            columns[name] = pc.fill_null(calls[name], self.name)
        wanted = schema()
        arrays = [
            columns[it.name].dictionary_encode() if pa.types.is_dictionary(it.type) else columns[it.name].cast(it.type)
            for it in wanted
        ]
        return pa.table(arrays, wanted)

    def _digest(self, mobile: str | None) -> tuple[int | None, str | None]:
        """Return the digest and the prefix of a mobile; a masked mobile has no digest."""
        if mobile is None:
            return None, None
        if "*" in mobile:
            return None, valid_prefix(mobile[:7])
        whole = _WHOLE_FLOAT.fullmatch(mobile)
        key, prefix = self.reader.digests.digest(whole[1] if whole else mobile)
        return int.from_bytes(key, "big", signed=True), valid_prefix(prefix)

    def _add_unread(self, reason: str, number: int, text: str) -> None:
        found = self.unread.setdefault(reason, _Reason())
        found.rows += 1
        if len(found.lines) < _NUMBERED_LINES:
            found.lines.append(number)
        if not found.text:
            text = text.strip()[: 4 * _QUOTED_CHARS]
            text = _CODE.sub(r"\1***", mask_text(text))
            found.text = text if len(text) <= _QUOTED_CHARS else f"{text[:_QUOTED_CHARS]}…"

    def record(self) -> SourceRecord:
        """Return the record of the file."""
        found = sorted(self.unread.items(), key=lambda item: item[1].lines)
        unread = [UnreadLines(reason, it.rows, tuple(it.lines), it.text) for reason, it in found]
        return SourceRecord(
            file=self.path,
            lines=self.lines,
            calls=self.calls,
            others=dict(self.others),
            unread=tuple(unread),
            fields=frozenset(self.fields),
            inferred=dict(sorted(self.inferred.items())),
            without_zone=self.without_zone,
            timezone=self.reader.timezone,
            early=self.early,
            undecoded=self.undecoded,
            unused=tuple(self._unused()),
        )

    def _unused(self) -> Iterator[str]:
        for name, columns in self.reader.columns.items():
            if self.present.isdisjoint(columns):
                yield f"no line has the column {' or '.join(map(repr, columns))} for {name}"
        if self.reader.has_own_format and not self.has_format:
            yield "no line is in the log format"
