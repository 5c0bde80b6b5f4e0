from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from support.s3 import s3

from toolkit.api.errors import InputError
from toolkit.runs import remote_storage


@pytest.fixture(params=["file", "fsspec+file", "fsspec+memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name = f"/{uuid4()}" if "memory" in request.param else f"{tmp_path}/far"
    return f"{request.param}://{name}/runs/friday"


def test_a_folder_that_was_pushed_is_pulled_as_it_was(url: str, tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    (tmp_path / "near/calls-0.parquet").write_bytes(b"calls")
    remote_storage.check(url)
    remote_storage.push(tmp_path / "near", url)
    with remote_storage.pulled(url) as folder:
        assert folder.name == "friday"
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"calls-0.parquet": b"calls"}
        (folder / "report.html").write_text("what was found")
    with remote_storage.pulled(url) as folder:
        assert (folder / "report.html").read_text() == "what was found"


def test_parts_of_several_workers_lie_side_by_side(url: str, tmp_path: Path) -> None:
    for worker in "01":
        near = tmp_path / worker
        near.mkdir()
        (near / f"calls-{worker}.parquet").touch()
        remote_storage.push(near, url)
    with remote_storage.pulled(url) as folder:
        assert len(list(folder.iterdir())) == 2


def test_a_path_is_used_directly(tmp_path: Path) -> None:
    with remote_storage.pulled(str(tmp_path)) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("url", ["nosuch://place", "file://host/path", "://", "fsspec+nosuch://x"])
def test_a_place_that_cannot_be_used_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="can't be used"):
        remote_storage.check(url)


def test_a_key_in_a_url_is_in_no_error() -> None:
    with pytest.raises(InputError) as caught:
        remote_storage.check("nosuch://key:hunter2@bucket/runs")
    assert "hunter2" not in str(caught.value)


def test_options_in_the_query_of_a_url_stay_behind_the_path(tmp_path: Path) -> None:
    (tmp_path / "near").mkdir()
    (tmp_path / "near/calls-0.parquet").write_bytes(b"calls")
    with s3() as bucket:
        remote_storage.check(bucket.url("runs"))
        assert not {key for key in bucket.objects if not key.endswith("/")}  # the test file is gone
        url = remote_storage.join(bucket.url("runs"), "friday")
        remote_storage.push(tmp_path / "near", url)
        assert bucket.objects["runs/friday/calls-0.parquet"] == b"calls"
        with remote_storage.pulled(url) as folder:
            assert folder.name == "friday"
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"calls-0.parquet": b"calls"}


def test_a_place_that_may_be_read_but_not_written_is_refused(tmp_path: Path) -> None:
    with s3() as bucket:
        bucket.is_read_only = True
        with pytest.raises(InputError, match="can't be used") as caught:
            remote_storage.check(bucket.url("runs"))
    assert "the-secret" not in str(caught.value)
