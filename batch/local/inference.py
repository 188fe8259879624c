"""The inference host: submit, status, result, the blocking v1 call, credits.

Each accepted POST is a new billable job, even with the same body: as at the vendor there is no idempotency key.
`metrics` carry cost and remaining credits on COMPLETED only.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batch.local import answers
from batch.local.answers import VENDOR, Answer, as_json, refusal
from batch.local.billing import price, usd
from batch.local.checks import Refused, check_parameters, read_object
from batch.local.jobs import Completed, Failed, Job, Processing
from batch.parameters import BY_NAME, MAX_SEED, MODEL, RANDOM_SEED

if TYPE_CHECKING:
    from batch.local.calls import Call
    from batch.local.jobs import State
    from batch.local.service import Service


async def submit(service: Service, call: Call) -> Answer:
    """Accept a job and say where to ask for it."""
    job = _accept(service, call, "v2")
    base = service.settings.poll_base_url or service.url
    return as_json(
        {
            "request_id": job.request_id,
            "status": "QUEUED",
            "poll_url": f"{base}/v1/requests/{job.request_id}",
            "status_url": f"{base}/v2/requests/{job.request_id}/status",
            "response_url": f"{base}/v2/requests/{job.request_id}",
        }
    )


async def run_blocking(service: Service, call: Call) -> Answer:
    """Accept a job, wait for its end, answer the picture itself."""
    job = _accept(service, call, "v1")
    if not await service.runner.ended(job.request_id):
        return VENDOR["unavailable"]()
    state = _state(service, job)
    if isinstance(state, Failed):
        return refusal(422, state.reason, {"x-request-id": job.request_id})
    if not isinstance(state, Completed):
        return VENDOR["internal"]()
    stored = service.files.find("outputs", state.file, state.ended_at, service.settings.output_lifetime_s)
    if stored is None:
        return VENDOR["internal"]()
    headers = {
        "x-request-id": job.request_id,
        "x-cost": f"{usd(job.cost):.6f}",
        "x-remaining-credits": f"{usd(state.balance):.6f}",
        "x-generation-time": f"{state.ended_at - state.started_at:.3f}",
        "x-seed-value": str(job.seed),
    }
    picture = service.files.path(stored).read_bytes()
    return Answer(200, picture, stored.content_type, tuple(headers.items()))


async def status(service: Service, call: Call) -> Answer:
    """Tell the state of a job; FAILED under HTTP 422."""
    found = _poll(service, call)
    if found is None:
        return VENDOR["not_found"]()
    job, state = found
    payload = {"status": state.name, "request_id": job.request_id, "metrics": _metrics(job, state)}
    if isinstance(state, Failed):
        return as_json({**payload, "error": state.reason}, 422)
    return as_json(payload)


async def result(service: Service, call: Call) -> Answer:
    """Give what the job made; before its end its state alone."""
    found = _poll(service, call)
    if found is None:
        return VENDOR["not_found"]()
    job, state = found
    payload: dict[str, Any] = {"status": state.name, "metrics": _metrics(job, state)}
    if isinstance(state, Failed):
        return as_json({**payload, "error": state.reason}, 422)
    if isinstance(state, Completed):
        output = _output(service, job, state)
        if output is None:
            return VENDOR["not_found"]()
        payload |= {**output, "seed": job.seed}
    return as_json(payload)


async def credit(service: Service, call: Call) -> Answer:  # noqa: ARG001  every handler has this face
    """Tell the balance."""
    return as_json({"credits": usd(service.bank.balance), "free-credits": 0})


def prompt_of(service: Service, call: Call) -> str:
    """Return the prompt a call is about, for faults that ask for one; empty when it has none."""
    if call.kind == "submit":
        try:
            return str(read_object("application/json", call.body).get("prompt", ""))
        except Refused:
            return ""
    request_id = call.params.get("request_id", "")
    if call.kind == "image":
        now, lifetime_s = service.clock(), service.settings.output_lifetime_s
        stored = service.files.find(call.params["folder"], call.params["name"], now, lifetime_s)
        request_id = "" if stored is None else stored.request_id
    found = service.jobs.find(request_id)
    return "" if found is None else found[0].prompt


def _accept(service: Service, call: Call, version: str) -> Job:
    """Return the new job, reserved and running; Refused with the service's answer otherwise."""
    model = call.params["model"]
    _check_model(service, model)
    body = read_object(call.content_type, call.body)
    check_parameters(body)
    settings, dice, ordinal = service.settings, service.dice, len(service.jobs)
    cost = price(settings.price_usd, settings.price_spread, dice.draw("cost", ordinal))
    reason = service.bank.refuses(cost)
    if reason is not None:
        text = answers.INSUFFICIENT if reason == "credits" else answers.SPEND_LIMIT
        raise Refused(refusal(406, text))
    seed = int(body.get("seed", BY_NAME["seed"].default))
    if seed == RANDOM_SEED:
        seed = dice.draw("seed", ordinal).randint(0, MAX_SEED)
    job = Job(
        dice.request_id(ordinal), ordinal, model, body, seed, cost, service.clock(), version, call.fault
    )
    service.bank.reserve(job.request_id, cost)
    service.jobs.accept(job)
    service.runner.launch(job)
    return job


def _check_model(service: Service, model: str) -> None:
    if model in service.settings.retired_models:
        raise Refused(VENDOR["retired"]())
    if model in service.settings.forbidden_models:
        raise Refused(VENDOR["forbidden"]())
    if model != MODEL:
        unknown = VENDOR["unknown_model"]()
        raise Refused(replace(unknown, body=refusal(404, f"Model not found: {model}").body))


def _poll(service: Service, call: Call) -> tuple[Job, State] | None:
    request_id = call.params["request_id"]
    service.stats.polls[request_id] += 1
    return service.jobs.poll(request_id, service.clock(), service.settings.record_lifetime_s)


def _state(service: Service, job: Job) -> State:
    found = service.jobs.find(job.request_id)
    if found is None:
        raise LookupError(job.request_id)
    return found[1]


def _metrics(job: Job, state: State) -> dict[str, Any]:
    if isinstance(state, Processing):
        return {"queue_time": _seconds(state.started_at - job.accepted_at), "retry_count": 0}
    if not isinstance(state, (Completed, Failed)):
        return {}
    metrics = {
        "inference_time": _seconds(state.ended_at - state.started_at),
        "queue_time": _seconds(state.started_at - job.accepted_at),
        "total_time": _seconds(state.ended_at - job.accepted_at),
        "retry_count": 0,
    }
    if isinstance(state, Completed):
        metrics |= {"cost": usd(job.cost), "remaining_credits": usd(state.balance)}
    return metrics


def _seconds(value: float) -> float:
    return round(value, 4)


def _output(service: Service, job: Job, state: Completed) -> dict[str, Any] | None:
    """Return `output` and, for a URL, `images`; None when the file's lifetime has passed."""
    lifetime_s = service.settings.output_lifetime_s
    stored = service.files.find("outputs", state.file, service.clock(), lifetime_s)
    if stored is None:
        return None
    if job.body.get("base64"):
        return {"output": base64.b64encode(service.files.path(stored).read_bytes()).decode()}
    url = service.file_url("outputs", state.file)
    if not service.settings.images_list:
        return {"output": url}
    image = {
        "url": url,
        "content_type": stored.content_type,
        "file_name": state.file,
        "file_size": state.size_bytes,
    }
    return {"output": url, "images": [image]}
