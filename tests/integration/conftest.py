"""The repository as a machine has it that runs its schedules."""

import shutil
import sysconfig
from pathlib import Path

import pytest
import support

JOBS = Path(__file__).parents[2] / "jobs"
SCRIPT = Path(sysconfig.get_path("scripts")) / "texbatch"


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
