"""Describe how much of a report's logs was read: unread lines, files left out, inferred codes, missing latencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from toolkit import number_format
from toolkit.analysis.source_record import SourceRecord, unread_ratio
from toolkit.api.return_codes import ReturnCode, find

_MAX_NAMED = 5
_DELIVERY_FAILED = "delivery failed"


def unread_remarks(sources: Sequence[SourceRecord]) -> Iterator[str]:
    """Yield a sentence on the unread lines, and one on each reason for which files were left out."""
    read = [it for it in sources if it.calls]
    if unread := sum(it.unread_rows for it in read):
        first = next(it for it in read if it.unread)
        reason = f"{first.file}, line {first.unread[0].lines[0]}: {first.unread[0].reason}"
        lines = number_format.plural(sum(it.lines for it in read), "line")
        yield (
            f"{unread:,} of {lines} ({number_format.share(unread_ratio(sources))}) could not be read and are left out"
            f" of all figures. First: {reason}."
        )
    if without := [it for it in sources if not it.calls and it.lines]:
        yield f"Left out, because no line is a call: {_names(f'{it.file} ({it.lines:,} lines)' for it in without)}."
    if empty := [it for it in sources if not it.lines and not it.skipped]:
        yield f"No line is in {_names(it.file for it in empty)}."
    for source in sources:
        if source.lines and source.unused:
            yield f"{source.file}: {'; '.join(source.unused)}."
    for source in sources:
        if source.early:
            calls = number_format.plural(source.early, "call")
            yield f"{source.file}: {calls} started before the year 2000; is the unit of the time right?"
    if skipped := [it for it in sources if it.skipped]:
        yield f"Left out: {_names(f'{it.file} {it.skipped}' for it in skipped)}."
    if undecoded := [it for it in sources if it.undecoded]:
        yield (
            "Some lines have bytes that are not in the file's encoding, so texts may be wrong:"
            f" {_names(it.file for it in undecoded)}. Give the encoding, e.g. --encoding gb18030."
        )


def reading_remarks(sources: Sequence[SourceRecord]) -> Iterator[str]:
    """Yield a sentence on each kind of value that the logs don't hold themselves."""
    inferred: Counter[int] = Counter()
    for source in sources:
        inferred.update(source.inferred)
    if inferred:
        codes = ", ".join(f"{calls:,} × {_code(code)}" for code, calls in sorted(inferred.items()))
        yield f"Return codes inferred from the HTTP status, where it has only one: {codes}."
    if unknown := [it for it in sources if it.calls and not it.holds_codes]:
        yield f"No return codes are in {_names(it.file for it in unknown)}: the code of an HTTP 400 or 403 is unknown."
    if timeless := [it for it in sources if it.calls and not it.holds_latency]:
        yield f"No latencies are in {_names(it.file for it in timeless)}."
    zones = {
        zone: [it.file for it in sources if it.timezone == zone and it.without_zone]
        for zone in dict.fromkeys(it.timezone for it in sources)
    }
    for zone, files in zones.items():
        if files:
            yield f"Times without a time zone are read as {zone}: {_names(files)}."
    if failed := sum(it.others.get(_DELIVERY_FAILED, 0) for it in sources):
        yield f"Failed deliveries in the service's log: {failed:,}."


def _code(code: int) -> str:
    row = find(code)
    return f"{code} {row.message} (HTTP {row.http_status})" if isinstance(row, ReturnCode) else str(code)


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MAX_NAMED} more" if len(listed) > _MAX_NAMED else ""
    return ", ".join(listed[:_MAX_NAMED]) + more
