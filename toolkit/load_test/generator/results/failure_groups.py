"""Group failed calls by kind and HTTP status, and keep a few examples of each group.

An error message may hold the id of its request. A table with a row for each message then has as many rows as there are
failed calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

from toolkit.api.errors import CallError, ProtocolError, ReturnCodeError
from toolkit.api.return_codes import find_published
from toolkit.api.wire import Endpoint
from toolkit.load_test.generator.http.call_outcome import classify

MAX_EXAMPLES = 3

GroupKey: TypeAlias = tuple[str, str]
"""The name of an endpoint, and that of a group."""


def group_name(failure: CallError) -> str:
    """Return the name of the group of a failed call. The text of a response never enters it, so there are few groups.

    >>> group_name(ReturnCodeError(50019, 500, "server error, request 7c1f"))
    'SERVER 50019 server error (HTTP 500)'
    >>> group_name(ProtocolError("not JSON", 503, b"<html>"))
    'not a response of the API (HTTP 503)'
    """
    if isinstance(failure, ReturnCodeError):
        row = find_published(failure.return_code)
        code = f" {failure.return_code:d} {row.message}" if row else ""
        return f"{failure.kind or 'unknown kind'}{code} (HTTP {failure.http_status})"
    if isinstance(failure, ProtocolError):
        return f"not a response of the API (HTTP {failure.http_status})"
    return classify(failure).value


class FailureGroups:
    """Counts the failed calls of one process by endpoint and group."""

    def __init__(self) -> None:
        self._counts: Counter[GroupKey] = Counter()
        self._examples: dict[GroupKey, dict[str, None]] = {}

    def add(self, endpoint: Endpoint, failure: CallError) -> None:
        """Count a failed call."""
        key = endpoint.value, group_name(failure)
        self._counts[key] += 1
        examples = self._examples.setdefault(key, {})
        if len(examples) < MAX_EXAMPLES:
            examples[str(failure)] = None

    def describe(self, key: GroupKey) -> str:
        """Return the name of a group with its examples."""
        examples = self._examples.get(key)
        return f"{key[1]}, e.g. {' | '.join(examples)}" if examples else key[1]

    def take(self) -> Mapping[GroupKey, int]:
        """Return the counts since the last call."""
        counts, self._counts = self._counts, Counter()
        return counts
