"""Several seeds a row, killed at any moment, and a choice while a run goes on: real processes, nothing paid twice or lost."""

import random
import signal
import time
from collections import Counter

import pytest
import support

from batch.server import LocalProcess

pytestmark = pytest.mark.slow

ROWS, SEEDS = 20, 4
LATE = {"call": "submit", "action": "delay", "after_s": 0.1}


@pytest.fixture
def server():
    with LocalProcess(**support.QUICK) as process:
        yield process


def images_by_seed(out, row_id):
    """Return a row's images beside its own one, by seed."""
    found = (out / "images" / ".previous").glob(f"{row_id}.seed-*.webp")
    return {int(path.stem.rpartition("-")[2]): path.read_bytes() for path in found}


def test_killed_at_any_moment_each_seed_is_paid_once_and_kept(server, tmp_path):
    dice = random.Random(13)
    out, env = tmp_path / "out", support.environment(server)
    support.write_csv(tmp_path / "pairs.csv", support.rows(ROWS))
    args = ("run", "pairs.csv", "--out", "out", "-v", "--settle", "1s", "--candidates", str(SEEDS), "--yes")
    server.faults([LATE])
    kills = 0
    for moment in ("job.accepted", "job.accepted", "job.saved", "job.completed", "job.accepted"):
        with support.Command(*args, env=env, cwd=tmp_path) as run:
            if run.hears(moment, dice.randint(1, 12)):
                time.sleep(dice.uniform(0, 0.2))
                kills += run.signal(signal.SIGKILL) == -signal.SIGKILL
    assert kills >= 3
    server.faults([])
    with support.Command(*args, env=env, cwd=tmp_path) as run:
        assert run.end() == 0, run.output
    stats = server.stats()
    assert support.accepted_twice(stats) == []
    assert Counter(job["prompt"] for job in stats["jobs"]) == {f"oak {n}": SEEDS for n in range(ROWS)}
    assert support.summary(out)["candidates"] == {"made": ROWS * (SEEDS - 1), "failed": 0}
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    for n in range(ROWS):
        sent = {job["body"]["seed"] for job in stats["jobs"] if job["prompt"] == f"oak {n}"}
        assert set(images_by_seed(out, f"row-{n}")) == sent - {n}


def test_a_choice_while_a_run_goes_on_is_there_at_its_end_and_outlives_kills(server, tmp_path):
    dice = random.Random(14)
    out, env = tmp_path / "out", support.environment(server)
    support.write_csv(tmp_path / "pairs.csv", support.rows(ROWS))
    args = ("run", "pairs.csv", "--out", "out", "-v", "--candidates", "3", "--yes", "--concurrency", "2")

    def command(*words):
        return support.Command(*words, env=env, cwd=tmp_path)

    with command(*args) as run:
        assert run.end() == 0, run.output
    others = images_by_seed(out, "row-3")
    seed = min(others)
    support.write_csv(tmp_path / "pairs.csv", support.rows(2 * ROWS))
    with command(*args) as run:
        assert run.hears("job.saved", 3), run.output
        with command("mark", "out", "--choose", f"row-3={seed}", "--as", "anna") as chosen:
            assert chosen.end() == 0
            assert "A run holds this folder" in chosen.output
        assert run.running
        assert run.end() == 0
    assert (out / "images" / "row-3.webp").read_bytes() == others[seed]
    assert support.by_id(out)["row-3"]["seed"] == str(seed)
    for n in range(10, 16):  # cut off while it chooses, then the same again
        others = images_by_seed(out, f"row-{n}")
        seed = max(others)
        chosen = command("mark", "out", "--choose", f"row-{n}={seed}")
        time.sleep(dice.uniform(0.1, 0.8))
        chosen.signal(signal.SIGKILL)
        with command("mark", "out", "--choose", f"row-{n}={seed}") as again:
            assert again.end() == 0, again.output
        assert (out / "images" / f"row-{n}.webp").read_bytes() == others[seed]
        assert set(images_by_seed(out, f"row-{n}")) == {*others, n} - {seed}
    support.assert_ledger_sound(out)
    support.assert_pictures_belong(out, server.stats())
    assert server.stats(jobs=False)["accepted"] == 2 * ROWS * 3
