"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.api.errors import InputError
from toolkit.atomic_write import replacing, write_atomically


@pytest.mark.parametrize(("content", "written"), [("验证码\ud800", "验证码?".encode()), (b"\0\xff", b"\0\xff")])
def test_text_and_bytes_are_written_and_nothing_else_is_left(
    content: str | bytes, written: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "file"
    assert write_atomically(path, content) == path
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    def interrupt() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    path = write_atomically(tmp_path / "file", "old")
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_for_a_folder_that_cannot_be_written_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: can't write run\.json there .*; choose another folder"):
        write_atomically(tmp_path / "file" / "run.json", "{}")
