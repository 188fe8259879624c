"""Standard streams that are closed, full, or whose reader goes away: they change nothing about a run."""

import os
import subprocess
import sys
import time

import pytest
import support
from support import rows, statuses, submits, write_csv

ROWS = 12


@pytest.fixture
def shell(api, tmp_path):
    """Run a shell line in the folder of a manifest, with `texbatch` as a word."""
    write_csv(tmp_path / "pairs.csv", rows(ROWS))

    def run(line, **more):
        env = support.environment(api, **more)
        words = f'texbatch() {{ "{sys.executable}" -m batch "$@"; }}\n{line}'
        return subprocess.run(
            ["bash", "-c", words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


CLOSED = ["2>&-", "1>&-", "0<&-", "0<&- 1>&- 2>&-"]
OPTIONS = ["--progress bar", "--progress log -v", "-q", "--log-format json -v"]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("streams", "options"),
    [
        ("2>&-", "--progress bar"),
        ("2>&-", "--log-format json -v"),
        ("0<&- 1>&- 2>&-", "--progress log -v"),
        *(
            pytest.param(streams, options, marks=pytest.mark.slow)
            for streams in CLOSED
            for options in OPTIONS
        ),
    ],
)
def test_a_closed_stream_is_as_good_as_dev_null(api, shell, out, streams, options):
    done = shell(f"texbatch run pairs.csv --out out {options} {streams}")
    assert (done.returncode, submits(api), statuses(out)) == (0, ROWS, {"saved": ROWS}), done.stderr
    support.assert_ledger_sound(out)
    for path in out.rglob("*"):
        assert path.is_dir() or b"job.accepted" not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&-", "1>&-"])
def test_a_refusal_on_a_closed_stream_keeps_its_code(shell, streams):
    assert shell(f"texbatch run missing.csv --out out {streams}").returncode == 2
    assert shell(f"texbatch status nowhere {streams}").returncode == 2


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            "texbatch run pairs.csv --out out -v 2>&1 | head -n 2; exit ${PIPESTATUS[0]}", id="of both"
        ),
        pytest.param(
            "texbatch run pairs.csv --out out --log-format json -v 2> >(head -n 1 >&2) >/dev/null",
            id="of the log",
        ),
        pytest.param("texbatch run pairs.csv --out out -v > /dev/full 2>&1", id="a full disk"),
    ],
)
def test_a_reader_that_goes_away_or_a_full_log_changes_nothing(api, shell, out, line):
    api.settings(latency_s=0.3, blocked_words=["oak 11"])
    done = shell(line)
    assert done.returncode == 1, done.stderr
    assert (submits(api), statuses(out)) == (ROWS, {"saved": ROWS - 1, "failed": 1})
    assert support.summary(out)["exit_code"] == 1


@pytest.mark.slow
def test_the_figures_of_a_folder_can_be_read_by_a_reader_that_has_enough(api, shell, out):
    assert shell("texbatch run pairs.csv --out out").returncode == 0
    done = shell("texbatch status out | head -n 1; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_reader_that_is_slow_loses_nothing(api, tmp_path):
    """Its pipe is full and does not block: what is written waits for it."""
    write_csv(tmp_path / "pairs.csv", rows(2000, prompt=""))
    ours, its = os.pipe()
    os.set_blocking(its, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", "validate", "pairs.csv"], cwd=tmp_path, stdout=its, stderr=its,
        env=support.environment(api),
    )  # fmt: skip
    os.close(its)
    time.sleep(1.0)  # until the pipe is full
    with os.fdopen(ours, encoding="utf-8") as told:
        lines = told.read().splitlines()
    assert process.wait(60) == 2
    assert lines[-1].endswith("nothing would be sent.")
    assert "Traceback" not in "\n".join(lines)
