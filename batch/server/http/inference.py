"""The inference host: submit, status, result, the blocking v1 call, credits.

Each accepted POST is a new billable job, even with the same body: the vendor has no idempotency keys.
`metrics` carry cost and remaining credits on COMPLETED only.
"""

import base64
from typing import Any

from batch.core.parameters import BY_NAME, MAX_SEED, MODEL, RANDOM_SEED
from batch.server.http.request import Call, check_parameters, read_object
from batch.server.job_runner import JobRunner
from batch.server.simulation import responses
from batch.server.simulation.account import price, usd
from batch.server.simulation.jobs import Completed, Failed, Job, Processing
from batch.server.simulation.responses import VENDOR, Answer, RequestRefused, as_json, refusal
from batch.server.state import ServerState


async def submit(server: ServerState, call: Call, runner: JobRunner) -> Answer:
    """Accept a job and answer where to poll it."""
    job = _accept(server, call, "v2", runner)
    base = server.settings.poll_base_url or server.url
    return as_json(
        {
            "request_id": job.request_id,
            "status": "QUEUED",
            "poll_url": f"{base}/v1/requests/{job.request_id}",
            "status_url": f"{base}/v2/requests/{job.request_id}/status",
            "response_url": f"{base}/v2/requests/{job.request_id}",
        }
    )


async def run_blocking(server: ServerState, call: Call, runner: JobRunner) -> Answer:
    """Accept a job, wait for its end, answer with the image itself."""
    job = _accept(server, call, "v1", runner)
    if not await runner.ended(job.request_id):
        return VENDOR["unavailable"]
    state = job.state
    if isinstance(state, Failed):
        return refusal(422, state.reason, {"x-request-id": job.request_id})
    if not isinstance(state, Completed):
        return VENDOR["internal"]
    stored = server.files.find("outputs", state.file, state.ended_at, server.settings.output_lifetime_s)
    if stored is None:
        return VENDOR["internal"]
    headers = {
        "x-request-id": job.request_id,
        "x-cost": f"{usd(job.cost):.6f}",
        "x-remaining-credits": f"{usd(state.balance):.6f}",
        "x-generation-time": f"{state.ended_at - state.started_at:.3f}",
        "x-seed-value": str(job.seed),
    }
    return Answer(200, server.files.read(stored), stored.content_type, tuple(headers.items()))


async def status(server: ServerState, call: Call) -> Answer:
    """Answer with the state of a job; FAILED under HTTP 422."""
    job = _poll(server, call)
    if job is None:
        return VENDOR["not_found"]
    state = job.state
    payload = {"status": state.name, "request_id": job.request_id, "metrics": _metrics(job)}
    if isinstance(state, Failed):
        return as_json({**payload, "error": state.reason}, 422)
    return as_json(payload)


async def result(server: ServerState, call: Call) -> Answer:
    """Answer with the job's result; before its end with its state alone."""
    job = _poll(server, call)
    if job is None:
        return VENDOR["not_found"]
    state = job.state
    payload: dict[str, Any] = {"status": state.name, "metrics": _metrics(job)}
    if isinstance(state, Failed):
        return as_json({**payload, "error": state.reason}, 422)
    if isinstance(state, Completed):
        output = _output(server, job, state)
        if output is None:
            return VENDOR["not_found"]
        payload |= {**output, "seed": job.seed}
    return as_json(payload)


async def credit(server: ServerState, call: Call) -> Answer:  # noqa: ARG001  all handlers have one signature
    """Answer with the balance."""
    return as_json({"credits": usd(server.account.balance), "free-credits": 0})


def prompt_of(server: ServerState, call: Call) -> str:
    """Return the prompt a call is about, for faults that ask for one; empty when it has none."""
    if call.kind == "submit":
        try:
            return str(read_object("application/json", call.body).get("prompt", ""))
        except RequestRefused:
            return ""
    request_id = call.params.get("request_id", "")
    if call.kind == "image":
        stored = server.find_file(call.params["folder"], call.params["name"])
        request_id = "" if stored is None else stored.request_id
    job = server.jobs.find(request_id)
    return "" if job is None else job.prompt


def _accept(server: ServerState, call: Call, version: str, runner: JobRunner) -> Job:
    """Return the new job, reserved and running; raises RequestRefused with the service's answer."""
    model = call.params["model"]
    _check_model(server, model)
    body = read_object(call.headers.get("content-type"), call.body)
    check_parameters(body)
    settings, random, ordinal = server.settings, server.random, len(server.jobs)
    cost = price(settings.price_usd, settings.price_spread, random.draw("cost", ordinal))
    reason = server.account.refuses(cost)
    if reason is not None:
        text = responses.INSUFFICIENT if reason == "credits" else responses.SPEND_LIMIT
        raise RequestRefused(refusal(406, text))
    seed = int(body.get("seed", BY_NAME["seed"].default))
    if seed == RANDOM_SEED:
        seed = random.draw("seed", ordinal).randint(0, MAX_SEED)
    job = Job(
        random.request_id(ordinal), ordinal, model, body, seed, cost, server.clock(), version, call.fault
    )
    server.account.reserve(job.request_id, cost)
    server.jobs.accept(job)
    runner.launch(job)
    return job


def _check_model(server: ServerState, model: str) -> None:
    if model in server.settings.retired_models:
        raise RequestRefused(VENDOR["retired"])
    if model in server.settings.forbidden_models:
        raise RequestRefused(VENDOR["forbidden"])
    if model != MODEL:
        raise RequestRefused(refusal(404, f"Model not found: {model}"))


def _poll(server: ServerState, call: Call) -> Job | None:
    request_id = call.params["request_id"]
    server.stats.polls[request_id] += 1
    return server.jobs.poll(request_id, server.clock(), server.settings.record_lifetime_s)


def _metrics(job: Job) -> dict[str, Any]:
    state = job.state
    if isinstance(state, Processing):
        return {"queue_time": round(state.started_at - job.accepted_at, 4), "retry_count": 0}
    if not isinstance(state, (Completed, Failed)):
        return {}
    metrics = {
        "inference_time": round(state.ended_at - state.started_at, 4),
        "queue_time": round(state.started_at - job.accepted_at, 4),
        "total_time": round(state.ended_at - job.accepted_at, 4),
        "retry_count": 0,
    }
    if isinstance(state, Completed):
        metrics |= {"cost": usd(job.cost), "remaining_credits": usd(state.balance)}
    return metrics


def _output(server: ServerState, job: Job, state: Completed) -> dict[str, Any] | None:
    """Return `output` and, for a URL, `images`; None when the file's lifetime has passed."""
    stored = server.find_file("outputs", state.file)
    if stored is None:
        return None
    if job.body.get("base64"):
        return {"output": base64.b64encode(server.files.read(stored)).decode()}
    url = server.file_url("outputs", state.file)
    if not server.settings.images_list:
        return {"output": url}
    image = {
        "url": url,
        "content_type": stored.content_type,
        "file_name": state.file,
        "file_size": state.size_bytes,
    }
    return {"output": url, "images": [image]}
