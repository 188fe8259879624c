"""Run a command and print what it cost, as JSON: `python launch.py COMMAND…`. Its output goes to stderr.

A process of its own, small on purpose: a child's ru_maxrss begins at the memory of the process it was forked from,
so started from pytest it would tell pytest's.
"""

import json
import os
import subprocess
import sys
import time

began_at, began = time.time(), time.monotonic()
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
cost = {
    "began_at": began_at,
    "wall_s": time.monotonic() - began,
    "cpu_s": used.ru_utime + used.ru_stime,
    "rss_mb": used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10),
    "code": process.returncode,
}
sys.stdout.write(json.dumps(cost))
