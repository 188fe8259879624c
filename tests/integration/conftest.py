"""A manifest and its output folder, and the repository as a machine has it that runs its schedules."""

import shutil
import sysconfig
from pathlib import Path

import pytest
import support

from batch.core.config import PollLimits

JOBS = Path(__file__).parents[2] / "jobs"
SCRIPT = Path(sysconfig.get_path("scripts")) / "texbatch"


@pytest.fixture(autouse=True)
def on_a_quick_machine(no_syncing, quick_certificates, quick_ledgers, quick_signals, waits):
    """Spend no time on what these tests are not about."""
    waits(**support.A_TENTH)


@pytest.fixture
def out(tmp_path):
    """The output folder, made by the run."""
    return tmp_path / "out"


@pytest.fixture
def pairs(tmp_path):
    """Write a manifest of so many rows, or of the rows given; gives its path."""

    def write(lines, name="pairs.csv", **columns):
        lines = support.rows(lines, **columns) if isinstance(lines, int) else lines
        return support.write_csv(tmp_path / name, lines)

    return write


@pytest.fixture
def manifest(pairs):
    """A manifest of four rows."""
    return pairs(4)


@pytest.fixture
def quick_polls(waits):
    """Look at jobs more often than even a service on this machine would need."""
    waits(polls=PollLimits(lowest=0.02, highest=0.02, first=0.02, ceiling=0.5))


@pytest.fixture
def installed(tmp_path):
    """The repository as the schedules expect it: jobs/ and .venv/bin/texbatch, and a catalog of three rows."""
    app = tmp_path / "srv texbatch"
    (app / ".venv" / "bin").mkdir(parents=True)
    (app / ".venv" / "bin" / "texbatch").symlink_to(SCRIPT)
    shutil.copytree(JOBS, app / "jobs")
    for name, colour in {"chair": "tomato", "oak": "peru"}.items():
        support.picture(app / f"{name}.png", colour, (64, 48))
    lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in support.rows(3)]
    support.write_csv(app / "pairs.csv", lines)
    return app
