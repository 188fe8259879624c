"""What was asked of the server, counted: the proof a test looks at.

It holds only what the jobs themselves do not show; `report` joins both. A submit that was accepted twice shows as
two jobs with one body.
"""

from collections import Counter
from typing import Any, Literal, get_args

from batch.server.simulation.account import SimulatedAccount, usd
from batch.server.simulation.jobs import Completed, Job, Jobs

CallKind = Literal["submit", "status", "result", "image", "upload", "credits", "history"]
CALLS = get_args(CallKind)


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
        """Count one answer, true or faulty, as "submit 200"."""
        self.answers[f"{kind} {status}"] += 1

    def report(self, jobs: Jobs, account: SimulatedAccount, *, with_jobs: bool) -> dict[str, Any]:
        """Return everything as JSON; `with_jobs` false leaves the long lists out."""
        hits = Counter(
            f"{hit['call']} {hit['action']} {'handled' if hit['handled'] else 'not handled'}"
            for hit in self.faults
        )
        states = Counter(job.state.name for job in jobs)
        report: dict[str, Any] = {
            "accepted": len(jobs),
            "states": dict(states),
            "in_flight": states["QUEUED"] + states["PROCESSING"],
            "most_in_flight": self.most_in_flight,
            "accepted_by_prompt": dict(Counter(job.prompt for job in jobs)),
            "accepted_by_body": dict(Counter(job.body_key for job in jobs)),
            "billed_jobs": states["COMPLETED"],
            "billed_micro_usd": account.billed,
            "balance_micro_usd": account.balance,
            "calls": dict(self.calls),
            "answers": dict(self.answers),
            "http_429": sum(count for name, count in self.answers.items() if name.endswith(" 429")),
            "uploaded": dict(self.uploaded),
            "files_with_key": self.files_with_key,
            "faults": dict(hits),
        }
        if with_jobs:
            report["polls"] = dict(self.polls)
            report["fault_hits"] = self.faults
            report["jobs"] = [_job(job) for job in jobs]
        return report


def _job(job: Job) -> dict[str, Any]:
    return {
        "request_id": job.request_id,
        "model": job.model,
        "version": job.version,
        "body": job.body,
        "body_key": job.body_key,
        "prompt": job.prompt,
        "accepted_at": job.accepted_at,
        "state": job.state.name,
        "cost_usd": usd(job.cost) if isinstance(job.state, Completed) else 0.0,
        "fault": job.fault,
    }
