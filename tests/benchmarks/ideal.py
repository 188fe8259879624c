"""The shortest that a manifest could take, with every job's time known beforehand: what walls are divided by.

List scheduling in the order of the manifest: a job starts as soon as a place is free and the limit lets its submit
pass. Nothing else costs time: no start-up, no polls, no downloads.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from counting.limit import Limit

if TYPE_CHECKING:
    from counting.options import Options


def wall_s(options: Options, count: int, at_once: int) -> float:
    """Seconds for `count` jobs, `at_once` in flight, under the limit on submits.

    With fixed windows of a constant limit this is (windows - 1) x window + the slowest job of the last window.
    """
    limit, places, now, end = Limit(options), [0.0] * min(at_once, count), 0.0, 0.0
    for index in range(count):
        now = max(now, heapq.heappop(places))
        while (resets_at := limit.take(now)) is not None:
            now = max(math.nextafter(now, math.inf), resets_at)
        done = now + options.job_s(index)
        heapq.heappush(places, done)
        end = max(end, done)
    return end


def counted_wall_s(options: Options, count: int) -> float:
    """Seconds for `count` jobs when every call counts: windows that are full before the last call, x the window.

    A job needs three calls, submit, status and result, and the run one for the balance. The last window's calls are
    statuses and results of jobs that were submitted in an earlier one, so with jobs shorter than a window they go as
    soon as it opens.
    """
    [(_, limit)] = options.limits
    return (3 * count + 1 - 1) // limit * options.window_s
