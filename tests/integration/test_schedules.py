"""The files in jobs/: every job file is taken by the real command, every schedule runs it as its comments promise."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
import support
import yaml

from batch.core.units import parse_duration

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"
PARSED = {
    path.name: yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # all text: a key `yes` stays one
    for path in sorted(JOBS.glob("*.y*ml"))
}
JOB_FILES = [name for name, content in PARSED.items() if "manifest" in content]
SCHEDULES = ["crontab", "texbatch.service", "texbatch.timer", "cronjob.yaml", "github-actions.yml"]
SCRIPT = Path(sysconfig.get_path("scripts")) / "texbatch"
NIGHTLY_S = parse_duration(PARSED["nightly.yaml"]["max-duration"]) + parse_duration(
    PARSED["nightly.yaml"]["grace"]
)
BARE = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "catalog"}
"""What cron gives a command besides what its table sets."""


def lines_of(name):
    return [
        line for line in (JOBS / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
    ]


CRON_VARIABLES = dict(line.split("=", 1) for line in lines_of("crontab") if re.match(r"\w+=", line))
CRON_LINES = [line.split(maxsplit=5) for line in lines_of("crontab") if not re.match(r"\w+=", line)]


def settings(app):
    """What a machine sets for its schedule."""
    return {"CATALOG": str(app / "pairs.csv"), "CATALOG_OUT": str(app / "out" / "nightly")}


# -- cron -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", CRON_LINES, ids=lambda line: line[5].split("/")[-1].strip('"'))
def test_a_line_of_the_crontab_is_one(line):
    assert [bool(re.fullmatch(r"[\d*/,-]+", field)) for field in line[:5]] == [True] * 5
    assert "%" not in line[5]  # cron's own character


@pytest.mark.slow
def test_the_crontabs_command_runs_as_cron_runs_it(installed):
    """By sh, with cron's few variables, no HOME, no terminal, nothing on stdin, in /. Quiet when all is well."""
    env = BARE | CRON_VARIABLES | {"APP": str(installed)} | settings(installed)
    line = f"{CRON_LINES[0][5]} --local"
    night = subprocess.run(
        [env["SHELL"], "-c", line], env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert (night.returncode, night.stdout, night.stderr) == (0, "", "")
    assert support.statuses(installed / "out" / "nightly") == {"saved": 3}


def test_cron_mails_what_went_wrong(installed):
    """The key is missing: exit code 2, with the remedy on stderr."""
    env = BARE | CRON_VARIABLES | {"APP": str(installed)} | settings(installed)
    night = subprocess.run(
        [env["SHELL"], "-c", CRON_LINES[0][5]], env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (night.returncode, night.stdout) == (2, "")
    assert "SEGMIND_API_KEY" in night.stderr


# -- systemd ----------------------------------------------------------------------------------------------------------


def unit(name):
    """Return a unit's settings; a name that is given twice keeps the last."""
    return dict(line.split("=", 1) for line in lines_of(name) if "=" in line)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed here")
def test_systemd_takes_the_units(tmp_path):
    """With the command replaced by one that exists here, as it must be executable."""
    for name in ("texbatch.service", "texbatch.timer"):
        text = (
            (JOBS / name)
            .read_text(encoding="utf-8")
            .replace("/srv/texbatch/.venv/bin/texbatch", sys.executable)
        )
        (tmp_path / name).write_text(text, encoding="utf-8")
    paths = [str(tmp_path / name) for name in ("texbatch.service", "texbatch.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "texbatch" in line]
    assert (done.returncode, told) == (0, [])


@pytest.mark.slow
def test_the_units_command_takes_the_key_from_a_file(api, installed, tmp_path):
    """ExecStart as it stands, with what systemd would fill in."""
    service = unit("texbatch.service")
    (tmp_path / "key").write_text(f"{api.api_key}\n")
    command = service["ExecStart"].replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)).split()
    env = BARE | {"SEGMIND_BASE_URL": api.base_url} | settings(installed)
    env |= dict(item.split("=", 1) for item in service["Environment"].split()) | settings(installed)
    command[0] = str(installed / ".venv" / "bin" / "texbatch")
    night = subprocess.run(command, env=env, cwd=installed, capture_output=True, text=True, check=False)
    assert (night.returncode, night.stdout) == (0, "")
    assert '"event": "run.ended"' in night.stderr  # TEXBATCH_QUIET=0 wins over the job file


def test_systemd_counts_planned_ends_as_success():
    assert unit("texbatch.service")["SuccessExitStatus"].split() == ["1", "7", "8", "143"]


# -- Kubernetes and GitHub --------------------------------------------------------------------------------------------


def pod():
    return PARSED["cronjob.yaml"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_kubernetes_never_runs_two_and_has_the_key_from_a_secret():
    spec = PARSED["cronjob.yaml"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == "0"
    (container,) = pod()["containers"]
    (key,) = [item for item in container["env"] if item["name"] == "SEGMIND_API_KEY"]
    assert set(key["valueFrom"]) == {"secretKeyRef"}


@pytest.mark.parametrize(
    ("told", "expected"),
    [(0, 0), (1, 0), (7, 0), (8, 0), (2, 2), (3, 3), (4, 4), (6, 6), (70, 70), (143, 143)],
)
def test_kubernetes_script_treats_exit_codes_as_it_says(tmp_path, told, expected):
    texbatch_that_ends(tmp_path, f"exit {told}")
    assert kubernetes(tmp_path).wait(20) == expected


def test_kubernetes_script_hands_the_signal_on_and_waits(tmp_path):
    """An evicted pod: texbatch gets SIGTERM, closes its ledger in its own time, and its code is the pod's."""
    texbatch_that_ends(
        tmp_path, "trap 'sleep 0.3; touch closed; exit 143' TERM; touch began; while :; do sleep 0.05; done"
    )
    script = kubernetes(tmp_path)
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    script.send_signal(signal.SIGTERM)
    assert script.wait(20) == 143
    assert (tmp_path / "closed").exists()


def texbatch_that_ends(folder, how):
    (folder / "texbatch").write_text(f"#!/bin/sh\n{how}\n")
    (folder / "texbatch").chmod(0o755)


def kubernetes(folder):
    (container,) = pod()["containers"]
    return subprocess.Popen(
        [*container["command"], *container["args"]],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
    )


@pytest.mark.parametrize(
    ("told", "expected"), [(0, 0), (7, 0), (8, 0), (1, 0), (2, 2), (3, 3), (4, 4), (6, 6)]
)
def test_githubs_step_treats_exit_codes_as_it_says(tmp_path, told, expected):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    texbatch_that_ends(tmp_path / ".venv" / "bin", f"exit {told}")
    (step,) = [step for step in PARSED["github-actions.yml"]["jobs"]["nightly"]["steps"] if "name" in step]
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == expected
    assert ("::warning::" in done.stdout) == (told == 1)


def test_github_shows_the_key_to_one_step_only():
    job = PARSED["github-actions.yml"]["jobs"]["nightly"]
    assert ["SEGMIND_API_KEY" in step.get("env", {}) for step in job["steps"]].count(True) == 1
    assert "SEGMIND_API_KEY" not in job["env"]
    assert PARSED["github-actions.yml"]["permissions"] == {"contents": "read"}


# -- all of them ------------------------------------------------------------------------------------------------------


def test_every_deadline_leaves_the_run_its_time():
    """A run that is out of time ends by itself, with exit code 7, before its schedule kills it."""
    nightly = PARSED["cronjob.yaml"]["spec"]["jobTemplate"]["spec"]
    hours, minutes = re.fullmatch(r"(\d+)h (\d+)min", unit("texbatch.service")["TimeoutStartSec"]).groups()
    deadlines = {
        "systemd": int(hours) * 3600 + int(minutes) * 60,
        "kubernetes": int(nightly["activeDeadlineSeconds"]),
        "github": int(PARSED["github-actions.yml"]["jobs"]["nightly"]["timeout-minutes"]) * 60,
    }
    assert all(NIGHTLY_S + 300 <= deadline < 2 * NIGHTLY_S for deadline in deadlines.values()), deadlines
    grace = parse_duration(PARSED["nightly.yaml"]["grace"])
    stop = int(re.fullmatch(r"(\d+)min", unit("texbatch.service")["TimeoutStopSec"])[1]) * 60
    assert grace < stop
    assert grace < int(pod()["terminationGracePeriodSeconds"])


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_says_how_exit_codes_are_treated(name):
    comments = "\n".join(
        line for line in (JOBS / name).read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )
    assert re.search("exit codes", comments, re.IGNORECASE)


def test_the_page_names_every_file():
    page = (JOBS / "README.md").read_text(encoding="utf-8")
    assert [
        path.name for path in JOBS.iterdir() if path.name != "README.md" and f"`{path.name}`" not in page
    ] == []
