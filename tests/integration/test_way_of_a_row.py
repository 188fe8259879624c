"""How many functions and files of batch/ one row passes: what a reader has to follow, kept small.

The whole command; of it what follows the call that takes the job from the queue; and of that the job itself, from the
transition that claims it (to `sending`, before the POST) to the return of the call that marks it saved. In all threads;
the local server's process is not counted. Lower the limits whenever the way gets shorter.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import support

import batch

LIMITS = {
    "whole": {"functions": 387, "files": 72},
    "queued": {"functions": 112, "files": 26},
    "job": {"functions": 78, "files": 20},
}

TRACER = """
import json, sys, threading

ROOT, SAVED = sys.argv[1] + "/", "ImageFetcher.mark_saved"
BEGINS = {"whole": "", "queued": "JobQueue.page", "job": "Ledger.transition"}
passed, ends = {part: {} for part in BEGINS}, {}


def trace(frame, event, _):
    code = frame.f_code
    if not code.co_filename.startswith(ROOT):
        return
    name = code.co_qualname.replace(".<locals>", "")
    if event == "return" and name == SAVED:  # a coroutine returns wherever it waits; the last time it is done
        ends.update((part, len(places)) for part, places in passed.items() if part != "whole")
    if event != "call" or "<" in name or name.split(".")[-1].strip("_")[:1].isupper():
        return  # lambdas, comprehensions, modules and class bodies are no functions
    for part, begin in BEGINS.items():
        if begin and name == "Dispatcher._tick":
            continue  # each second, whatever the job does: on a slow machine only
        if passed[part] or not begin or name == begin:
            passed[part].setdefault((code.co_filename[len(ROOT):], name))


sys.argv[1:] = ["run", "one.csv", "--local", "--out", "out", "--progress", "none", "--yes"]
sys.setprofile(trace)
threading.setprofile(trace)
try:
    from batch.cli import main
    main()
except SystemExit as end:
    code = end.code or 0
sys.setprofile(None)
threading.setprofile(None)
print(json.dumps({"code": code, "passed": {part: list(places)[:ends.get(part)] for part, places in passed.items()}}))
"""


def test_the_way_of_a_row_stays_short(tmp_path):
    """Two local images in, one image out."""
    support.picture(tmp_path / "chair.png", "tomato")
    support.picture(tmp_path / "oak.png", "peru")
    support.write_csv(tmp_path / "one.csv", support.rows(1, image_1="chair.png", image_2="oak.png"))
    package = Path(batch.__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", TRACER, package],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(package.parent)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["code"] == 0, ended.stderr
    for part, limit in LIMITS.items():
        places = found["passed"][part]
        counted = {"functions": len(places), "files": len({file for file, _ in places})}
        way = "\n".join(" ".join(place) for place in places)
        assert counted["functions"] > 50, f"{part}: begin or end was not seen\n{way}"
        assert all(counted[what] <= limit[what] for what in limit), (
            f"{part}: {counted}, {limit} at most\n{way}"
        )
