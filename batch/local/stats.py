"""What was asked of the server, counted: the proof a test looks at.

Only counters that the jobs themselves cannot tell; `report` joins both. A submit that was accepted twice shows as
two jobs with one body.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from batch.local.billing import usd
from batch.local.faults import CALLS
from batch.local.jobs import Completed, body_key

if TYPE_CHECKING:
    from batch.local.billing import Bank
    from batch.local.jobs import Job, Jobs, State


class Stats:
    """The counters of one server."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter(dict.fromkeys(CALLS, 0))
        self.answers: Counter[str] = Counter()
        self.polls: Counter[str] = Counter()
        self.uploaded: Counter[str] = Counter()
        self.files_with_key = 0
        self.most_in_flight = 0
        self.faults: list[dict[str, Any]] = []

    def answered(self, kind: str, status: int) -> None:
        """Count one answer, true or spoilt, as "submit 200"."""
        self.answers[f"{kind} {status}"] += 1

    def report(self, jobs: Jobs, bank: Bank, *, with_jobs: bool) -> dict[str, Any]:
        """Return everything as JSON; `with_jobs` false leaves the long lists out."""
        spoilt = Counter(
            f"{hit['call']} {hit['action']} {'handled' if hit['handled'] else 'not handled'}"
            for hit in self.faults
        )
        states = +jobs.states  # without those that are zero
        report: dict[str, Any] = {
            "accepted": len(jobs),
            "states": dict(states),
            "in_flight": states["QUEUED"] + states["PROCESSING"],
            "most_in_flight": self.most_in_flight,
            "accepted_by_prompt": dict(jobs.prompts),
            "accepted_by_body": dict(jobs.bodies),
            "billed_jobs": states["COMPLETED"],
            "billed_micro_usd": bank.billed,
            "balance_micro_usd": bank.balance,
            "calls": dict(self.calls),
            "answers": dict(self.answers),
            "http_429": sum(count for name, count in self.answers.items() if name.endswith(" 429")),
            "uploaded": dict(self.uploaded),
            "files_with_key": self.files_with_key,
            "faults": dict(spoilt),
        }
        if with_jobs:
            report["polls"] = dict(self.polls)
            report["fault_hits"] = self.faults
            report["jobs"] = [_job(job, state) for job, state in jobs]
        return report


def _job(job: Job, state: State) -> dict[str, Any]:
    return {
        "request_id": job.request_id,
        "model": job.model,
        "version": job.version,
        "body": job.body,
        "body_key": body_key(job.body),
        "prompt": job.prompt,
        "accepted_at": job.accepted_at,
        "state": state.name,
        "cost_usd": usd(job.cost) if isinstance(state, Completed) else 0.0,
        "fault": job.fault,
    }
