"""Names of version 0.1: each goes on working, gives the thing of today and warns."""

import json
import subprocess
import sys

import pytest

import batch
import batch.local
import batch.server

OLD_LOCAL = {
    "LocalApi", "LocalError", "LocalProcess", "LocalSettings", "SettingsError", "card_for", "read_settings", "serve",
}  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Finished", "RunResult"),
        ("FolderBusy", "FolderLocked"),
        ("Listener", "RunHooks"),
        ("NoAnswer", "NoResponse"),
    ],
)
def test_a_renamed_public_name_is_the_new_one_with_a_warning(old, new):
    with pytest.warns(DeprecationWarning, match=f"batch.{old} is now batch.{new}"):
        assert getattr(batch, old) is getattr(batch, new)


def test_the_table_of_renamed_names_is_tested_whole():
    assert set(batch._RENAMED) == {"Finished", "FolderBusy", "Listener", "NoAnswer"}
    assert set(batch._RENAMED.values()) <= set(batch.__all__)


@pytest.mark.parametrize("name", sorted(OLD_LOCAL))
def test_batch_local_gives_the_things_of_batch_server_with_a_warning(name):
    now = {"card_for": "placeholder_image"}.get(name, name)
    with pytest.warns(DeprecationWarning, match=f"batch.local.{name} is now batch.server.{now}"):
        assert getattr(batch.local, name) is getattr(batch.server, now)


def test_engines_and_their_image_go_by_their_former_names_with_a_warning():
    """`/_local/settings` shows those names to its clients for as long."""
    with pytest.warns(DeprecationWarning, match="engine 'drape' is now 'cpu'"):
        assert batch.server.LocalSettings(engine="drape").engine == "cpu"
    with pytest.warns(DeprecationWarning, match="engine 'card' is now 'placeholder'"):
        assert batch.server.LocalSettings.from_json({"engine": "card"}).public()["engine"] == "card"
    with pytest.warns(DeprecationWarning, match="card_for is now batch.server.placeholder_image"):
        assert batch.server.card_for is batch.server.placeholder_image


def test_batch_local_exports_what_it_did():
    assert set(batch.local.__all__) == OLD_LOCAL
    with pytest.raises(AttributeError):
        _ = batch.local.Nothing


def test_python_m_batch_local_still_serves():
    """One line of settings in, one ready line out, and it ends with its stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "batch.local"],
        input="{}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "url" in json.loads(done.stdout.splitlines()[0])
    assert "is now python -m batch.server" in done.stderr
