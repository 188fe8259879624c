"""The output folder's lock: one holder, and a question that disturbs nobody."""

import fcntl
import os
from pathlib import Path

import pytest

from batch.core.errors import FolderLocked, UsageError
from batch.output import folder as folders
from batch.output.folder import OutputFolder


def test_who_asks_learns_whether_it_is_held(tmp_path):
    folder = OutputFolder(tmp_path)
    assert not folder.is_held()
    with folder.hold():
        assert folder.is_held()
        assert folder.is_held()
    assert not folder.is_held()
    assert not OutputFolder(tmp_path / "none").is_held()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_begins_while_somebody_asks_is_not_refused(tmp_path, monkeypatch):
    """The lock that the question takes for an instant is waited for."""
    asking = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    monkeypatch.setattr(folders, "sleep", lambda _: os.close(asking))
    with OutputFolder(tmp_path).hold():
        assert OutputFolder(tmp_path).is_held()


def test_a_second_holder_is_refused(tmp_path):
    with (
        OutputFolder(tmp_path).hold(),
        pytest.raises(FolderLocked, match="another run holds this folder"),
        OutputFolder(tmp_path).hold(),
    ):
        pass


@pytest.mark.parametrize("place", ["s3://bucket/x", "gs:/bucket", "file:///tmp/out", "HTTPS://h/out"])
def test_a_url_is_not_an_output_folder(tmp_path, place):
    """A Path has lost one of its slashes. It would become a local folder named s3:."""
    for given in (place, Path(place)):
        with pytest.raises(UsageError, match=r"is a URL, .* Give the path of a folder"):
            OutputFolder(given)


@pytest.mark.parametrize("place", ["/data/s3:/x", "c:/x", "a:b", "12:30/x", "out"])
def test_a_path_with_a_colon_may_be_one(place):
    assert OutputFolder(place).report == Path(place) / "report.csv"
