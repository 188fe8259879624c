"""An upgrade alone pays nothing: folders that an earlier version paid for, run by the shipped nightly job.

How they were made is in tests/fixtures/upgrade/make.py.
"""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import support

from batch.server import LocalApi

FOLDERS = Path(__file__).parents[1] / "fixtures" / "upgrade"
NIGHTLY = Path(__file__).parents[2] / "jobs" / "nightly.yaml"
KEY = "SG_fixture_of_an_upgrade"
ENVIRONMENT = {"ignored": {"TEXBATCH_IGNORE_URL_QUERY": "1"}}
CASES = sorted(path.name for path in FOLDERS.iterdir() if (path / "paid").is_dir())


@pytest.fixture
def before(monkeypatch):
    """Start the service of the fixtures' account, and name it in the environment."""
    with LocalApi(**(support.QUICK | {"seed": 7}), api_key=KEY) as api:  # request ids of its own
        monkeypatch.setenv("SEGMIND_BASE_URL", api.base_url)
        monkeypatch.setenv("SEGMIND_API_KEY", KEY)
        yield api


def known(out):
    """Return (id, key, state) of the rows of the manifest, in order."""
    with closing(sqlite3.connect(out / "ledger.sqlite")) as connection:
        return connection.execute(
            "SELECT id, payload_key, state FROM rows JOIN jobs USING (job) WHERE position IS NOT NULL ORDER BY position"
        ).fetchall()


def move_in(case, tmp_path, api):
    """Copy a case here, as if it had been made at this server; return its folder."""
    folder = shutil.copytree(FOLDERS / case, tmp_path / case)
    with closing(sqlite3.connect(folder / "paid" / "ledger.sqlite")) as connection, connection:
        (service,) = connection.execute("SELECT value FROM meta WHERE name='service'").fetchone()
        now = re.sub(r"127\.0\.0\.1:\d+", api.base_url.removeprefix("http://"), service)
        connection.execute("UPDATE meta SET value=? WHERE name='service'", (now,))
    return folder


@pytest.mark.quick(3)
@pytest.mark.parametrize("night", ["before", "tonight"])
@pytest.mark.parametrize("case", CASES)
def test_an_upgrade_alone_pays_nothing(before, command, tmp_path, monkeypatch, case, night):
    folder = move_in(case, tmp_path, before)
    out, paid = folder / "paid", known(folder / "paid")
    (manifest,) = folder.glob(f"{night}.*")
    monkeypatch.setenv("CATALOG", str(manifest))
    monkeypatch.setenv("CATALOG_OUT", str(out))
    for name, value in ENVIRONMENT.get(case, {}).items():
        monkeypatch.setenv(name, value)
    images = support.files_in(out / "images")
    planned = command("plan", NIGHTLY)
    assert (planned[0], "0 jobs to send" in planned[1]) == (0, True), planned
    for _ in range(2):
        code, _, told = command("run", NIGHTLY)
        assert (code, support.submits(before)) == (0, 0), told
        assert known(out) == paid
        assert {state for *_, state in paid} == {"saved"}
        assert support.files_in(out / "images") == images
        assert support.statuses(out) == {"saved": len(paid)}


def test_what_failed_before_the_upgrade_is_sent_with_the_link_of_tonight(before, command, tmp_path):
    """Also where its key still has the old signature in it: tonight's link is the one that opens."""
    folder = move_in("signed", tmp_path, before)
    out, paid = folder / "paid", known(folder / "paid")
    with closing(sqlite3.connect(out / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE jobs SET state='failed', error_class='unusable_picture', error='no', sha256=NULL"
        )
        connection.execute("UPDATE rows SET kept_job=NULL, kept_output=NULL")
    shutil.rmtree(out / "images")
    code, _, told = command(
        "run", folder / "tonight.csv", "--out", out, "--retry-failed", "--same-account", "--yes"
    )
    assert (code, known(out)) == (0, paid), told
    bodies = [job["body"] for job in before.stats()["jobs"]]
    assert len(bodies) == len(paid)
    assert {f"{3:064x}" in body["image_1"] for body in bodies} == {True}
