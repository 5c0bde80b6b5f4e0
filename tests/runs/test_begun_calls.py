from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.runs.begun_calls import open_counts, read_begun


def test_counts_are_in_the_file_at_once_and_go_on_where_an_earlier_process_ended(tmp_path: Path) -> None:
    assert read_begun(tmp_path) == {}
    open_counts(tmp_path, "0")[True] += 2  # nothing is closed or flushed
    other = open_counts(tmp_path, "1")
    other[False] += 1
    open_counts(tmp_path, "0")[True] += 1
    assert read_begun(tmp_path) == {Endpoint.SEND: 3, Endpoint.VERIFY: 1}


def test_a_folder_that_cannot_be_written_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be counted in .*no call was made"):
        open_counts(tmp_path / "gone", "0")
    (tmp_path / "begun-0.bin").write_bytes(b"1")
    with pytest.raises(InputError, match=r"begun-0.bin is damaged: expected 16 bytes, found 1"):
        read_begun(tmp_path)
