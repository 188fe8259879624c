"""A small async client of the service, for scripts: every call of `Calls`, and `wait`.

    async with Client(Service(api_key="…")) as client:
        submission = await client.submit({"prompt": "…", "image_1": "https://…", "image_2": "https://…"})
        result = await client.wait(submission.request_id, deadline_s=900)

`submit` is never repeated here, whatever happens: each accepted POST is a new billed job. `wait` polls, and may be
cancelled or called again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.client.calls import Calls
from batch.client.poller import Done, Expired, Poller
from batch.client.responses import Failed
from batch.core.errors import JobExpired, JobFailed, JobRunning, RunStopped

if TYPE_CHECKING:
    from batch.core.models import Result


class Client(Calls):
    """The service's calls, and waiting for a job; use as an async context manager."""

    async def wait(self, request_id: str, *, deadline_s: float) -> Result:
        """Poll a job until it is done and return its result.

        Raises JobFailed when the service reports it as failed, which is not billed; JobExpired, a JobFailed, when the service
        has no record or no URL of it an hour after the call, although it is billed; JobRunning (with the request id) when
        `deadline_s` seconds were not enough; RunStopped when the key is refused.
        """
        now = self.clock()
        outcome = await Poller(self).until_done(request_id, submitted_at=now, until=now + deadline_s)
        if isinstance(outcome, Done):
            return outcome.result
        if isinstance(outcome, Failed):
            raise JobFailed(request_id, outcome.reason)
        if isinstance(outcome, Expired):
            raise JobExpired(request_id, outcome.reason)
        if outcome.denied:
            raise RunStopped(outcome.denied)
        raise JobRunning(request_id, self.clock() - now)
