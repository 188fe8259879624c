"""Check whether everything is there that a run needs, at no cost: no job is submitted, no state is changed.

Each check returns CheckResults and never raises for what it checks, so that one visit reports all that is wrong. Key,
hosts and proxies are passed in.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from batch.client.client import Client
from batch.client.history import PATH as HISTORY_PATH
from batch.client.responses import read_time
from batch.core.config import LOCAL_ACCOUNT, LOCAL_SERVICE, RunSettings
from batch.core.errors import (
    EXIT_OK,
    EXIT_STOPPED,
    FolderError,
    ManifestError,
    NoResponse,
    NotDelivered,
    RunStopped,
    ServiceError,
    UsageError,
)
from batch.core.units import counted, format_usd, iso, named
from batch.execution.account_check import prove
from batch.execution.dispatcher import local_service
from batch.ledger import accounts, connection
from batch.ledger.accounts import How, Standing
from batch.ledger.ledger import Ledger
from batch.ledger.meta import Meta
from batch.manifest.manifest import check_reading
from batch.output.folder import OutputFolder
from batch.planning.planner import learned, preview

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.core.config import Service
    from batch.ledger.staging import Plan

OK, WARN, FAIL = "ok", "warn", "fail"

SKEW_WARN_S = 30.0
ROOM_WARN = 1024**3
ROOM_FAIL = 64 * 1024**2
_HOW = {How.HISTORY: "its history lists a request of this folder, ", How.SAID: "confirmed by a person, "}
LIBRARIES = ("httpx", "aiohttp", "anyio", "pandas", "pillow", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one examination found: `status` is ok, warn or fail; `remedy` what to do, where there is something to do."""

    status: str
    subject: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.status:<5} {self.subject:<9} {self.message}{f' {self.remedy}' if self.remedy else ''}"


def exit_code(results: list[CheckResult]) -> int:
    """Return 0, or 3 when something would stop a run."""
    return EXIT_STOPPED if any(result.status == FAIL for result in results) else EXIT_OK


def run_checks(
    out: Path, service: Service | None, manifest: Path | None = None, settings: RunSettings | None = None
) -> list[CheckResult]:
    """Check this machine, the output folder, the manifest if there is one, and the service.

    `service` None means the local one, started for the occasion. `settings` are those of the run that is to come.
    """
    results = [*_versions(), *_disk(out), *_temporary()]
    if manifest is not None:
        run = settings or RunSettings(out)
        results += _manifest(manifest, run, local=service is None)
    return [*results, *anyio.run(_service, service), *anyio.run(_folder, out, service)]


def _manifest(path: Path, settings: RunSettings, *, local: bool) -> Iterator[CheckResult]:
    """Compare a manifest with the folder as a run would, and report what is wrong, or what the run would do and cost."""
    see = f"texbatch validate {quote(str(path))}"
    try:
        check_reading(path, settings.reading)
        plan, found, simulated = preview(path, settings)
    except ManifestError as exc:
        message = f"{counted(len(exc.problems) + exc.dropped, 'problem')}, the first: {exc.problems[0]}"
        yield CheckResult(FAIL, "manifest", message, f"All of them: {see}")
        return
    except (UsageError, FolderError) as exc:
        yield CheckResult(FAIL, "manifest", f"{path}: {exc}")
        return
    rows = f"{path}: {counted(found.rows, 'row')}"
    if found.problems:
        yield CheckResult(WARN, "manifest", f"{rows}; {found.problems[0]}", f"See: {see}")
    else:
        yield CheckResult(OK, "manifest", f"{rows}, no problems")
    yield _cost(plan, settings, simulated=simulated or local)
    yield from _unanswered(plan, settings)


def _cost(plan: Plan, settings: RunSettings, *, simulated: bool) -> CheckResult:
    """Report what a run would send, for how much, and how long it takes."""
    if not plan.to_send:
        done = f"nothing to send: {plan.done} of {counted(plan.rows, 'row')} saved already"
        return CheckResult(OK, "plan", done)
    cost = f"{format_usd(plan.cost)}{' (simulated)' if simulated else ''}"
    cap = "no --max-cost" if settings.max_cost is None else f"--max-cost {format_usd(settings.max_cost)}"
    message = f"{counted(plan.to_send, 'job')} to send, for about {cost}, {plan.each}; {cap}."
    if not simulated:
        message += f" {learned(Path(settings.out)).takes(plan.to_send, settings, time.time())}"
    return CheckResult(OK, "plan", message)


def _unanswered(plan: Plan, settings: RunSettings) -> Iterator[CheckResult]:
    """Report what a run would ask for, and does not send without a terminal."""
    if plan.changed and not settings.pays_for_edits:
        message = f"{counted(len(plan.changed), 'row')} changed since paid for, {plan.about(plan.cost_of('changed'))}."
        remedy = "Without a terminal nothing is sent and the exit code is 2, unless --yes or a job file's yes is given."
        yield CheckResult(WARN, "changed", message, remedy)
    if plan.invalid:
        message = f"{counted(plan.invalid, 'row')} invalid."
        yield CheckResult(
            WARN, "invalid", message, "Left out: the run sends the others and ends with exit code 1."
        )
    if plan.kept_invalid:
        message = f"{counted(len(plan.kept_invalid), 'row')} invalid now, with an image: {named(plan.kept_invalid)}."
        remedy = "They keep it: nothing is sent for them, and they do not change the exit code."
        yield CheckResult(WARN, "kept", message, remedy)
    if plan.candidates:
        message = f"{counted(plan.candidates, 'further image')}, {plan.about(plan.candidates_cost)}."
        remedy = (
            "Without a terminal nothing is sent and the exit code is 2, unless --yes is on the command line."
        )
        yield CheckResult(WARN, "further", message, remedy)
    if plan.again:
        message = f"{counted(len(plan.again), 'row')} would be paid for again, {plan.about(plan.again_cost)}."
        remedy = "Without a terminal they are left out, unless --yes is on the command line."
        yield CheckResult(WARN, "again", message, remedy)


async def _folder(out: Path, service: Service | None) -> list[CheckResult]:
    """Report whose an output folder is, and what the present key would mean for it; nothing if it has no ledger."""
    path = OutputFolder(out).ledger
    if not path.is_file():
        return []
    try:
        with Ledger.read(path) as ledger:
            return [_whose(ledger), await _present_key(ledger, service)]
    except FolderError as exc:
        return [CheckResult(FAIL, "account", str(exc))]


def _whose(ledger: Ledger) -> CheckResult:
    bound = ledger.meta(Meta.SERVICE)
    if accounts.has_accepted_nothing(ledger):
        return CheckResult(
            OK, "account", "none: nothing was ever accepted in this folder, any account may take it"
        )
    whose = "the local service (--local)" if bound == LOCAL_SERVICE else bound or "an unknown service"
    keys = ", ".join(
        f"{seen.fingerprint} ({_HOW.get(seen.how, '')}first used {iso(seen.first)}, last used {iso(seen.last)})"
        for seen in accounts.keys(ledger)
    )
    ends = accounts.first_and_last(ledger)
    asked = f"; first request {ends[0]}, last request {ends[1]}" if ends else "; no request was accepted yet"
    return CheckResult(OK, "account", f"{whose}{f'; keys {keys}' if keys else ''}{asked}")


async def _present_key(ledger: Ledger, service: Service | None) -> CheckResult:
    """Report what a run with the present key would mean."""
    account = LOCAL_ACCOUNT if service is None else service.account
    found = accounts.standing(ledger, account)
    if found is Standing.ELSEWHERE:
        return CheckResult(FAIL, "access", f"{account} is another service.", "Use another --out.")
    if service is not None and not service.api_key:
        return CheckResult(
            WARN, "access", "there is no key: only a run with nothing to send or fetch can go on."
        )
    if found is Standing.FREE:
        return CheckResult(OK, "access", f"the folder is free for {account}")
    if found is Standing.OURS or service is None:
        return CheckResult(OK, "access", f"{account}: this folder knows it")
    try:
        proof = await prove(ledger, service)
    except RunStopped as exc:
        return CheckResult(FAIL, "access", str(exc))
    if proof.request_id is not None:
        message = f"the same account: its history lists request {proof.request_id}"
        return CheckResult(OK, "access", f"the key {account.key} is new here, and of {message}")
    remedy = "Give --same-account if it belongs to the same account; else use another --out."
    return CheckResult(FAIL, "access", f"the key {account.key} is new here, and {proof.why}.", remedy)


def _versions() -> Iterator[CheckResult]:
    yield CheckResult(
        OK, "versions", f"texbatch {metadata.version('texbatch')}, Python {platform.python_version()}, "
        f"SQLite {connection.SQLITE}, {platform.system()} {platform.release()}",
    )  # fmt: skip
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield CheckResult(OK, "libraries", ", ".join(found))
    if missing:
        yield CheckResult(
            FAIL, "libraries", f"not installed: {', '.join(missing)}.", "Install texbatch again with pip."
        )


def _disk(out: Path) -> Iterator[CheckResult]:
    """Check the folder, or the nearest one above it; what is written there for the check is removed again."""
    here = out.resolve()
    while not here.exists():
        here = here.parent
    if not here.is_dir():
        yield CheckResult(FAIL, "disk", f"{here} is not a folder.", "Give another --out.")
        return
    free = shutil.disk_usage(here).free
    room = f"{free / 1024**3:.1f} GiB free in {here}"
    status = FAIL if free < ROOM_FAIL else WARN if free < ROOM_WARN else OK
    yield CheckResult(
        status, "disk", room + ("" if status == OK else "."), "" if status == OK else "Make room."
    )
    try:
        with tempfile.TemporaryDirectory(dir=here, prefix=".texbatch-doctor-") as name:
            yield from _locks(Path(name))
    except OSError as exc:
        yield CheckResult(
            FAIL,
            "folder",
            f"{here} cannot be written ({exc.strerror}).",
            "Make it writable, or give another --out.",
        )
    folder = OutputFolder(out)
    if folder.images.is_dir():
        try:
            folder.try_images()
        except FolderError as exc:
            yield CheckResult(FAIL, "images", str(exc))


def _temporary() -> Iterator[CheckResult]:
    """Report when no temporary folder can be written: large manifests go there, and the images of --local."""
    try:
        here = tempfile.gettempdir()
    except OSError:
        here = None
    if here is None or not connection.can_spill():
        remedy = "Set TMPDIR to a folder that can be written."
        yield CheckResult(WARN, "temporary", "no temporary folder can be written.", remedy)


def _locks(here: Path) -> Iterator[CheckResult]:
    with (here / "lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            yield CheckResult(
                FAIL, "lock", f"this file system cannot lock ({exc.strerror}).", "Use a local disk for --out."
            )
        else:
            yield CheckResult(OK, "lock", "the file system locks files")
    reason = connection.unsupported_reason(here)
    if reason is None:
        yield CheckResult(OK, "ledger", "the file system holds a ledger (SQLite, WAL)")
    else:
        message = f"this file system cannot hold a ledger ({reason})."
        yield CheckResult(FAIL, "ledger", message, "Use a local disk for --out.")


async def _service(service: Service | None) -> list[CheckResult]:
    async with AsyncExitStack() as stack:
        remote = await stack.enter_async_context(local_service()) if service is None else service
        client = await stack.enter_async_context(Client(remote))
        results = [_network(remote)]
        results += await _account(client)
        for name, base, path in (
            ("uploads", remote.upload_url, "/"),
            ("history", remote.history_url, f"{HISTORY_PATH}?page=1&per_page=1"),
        ):
            results.append(await _reach(client, name, base, path))
        return results


def _network(service: Service) -> CheckResult:
    """Report which proxies and certificates are in use; a proxy's user and password are left out."""
    proxies = ", ".join(
        f"{scheme} over {_without_password(proxy)}"
        for scheme, proxy in sorted(service.network.proxies.items())
    )
    direct = (
        f", but not for {', '.join(service.network.no_proxy)}" if proxies and service.network.no_proxy else ""
    )
    ca = f"; certificates from {service.network.ca_file}" if service.network.ca_file else ""
    return CheckResult(OK, "proxies", f"{proxies or 'none'}{direct}{ca}")


def _without_password(proxy: str) -> str:
    try:
        parts = urlsplit(proxy)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "what is not a URL"
    return f"{parts.hostname}{port}"


async def _account(client: Client) -> list[CheckResult]:
    """Read the balance: it shows whether the host answers, the key is taken, the clocks agree and jobs can be paid."""
    service, before = client.service, client.clock()
    results = []
    if not service.api_key:
        remedy = "Set SEGMIND_API_KEY, or give --api-key-file, or put it in a .env beside the job."
        results.append(CheckResult(FAIL, "key", "there is none.", remedy))
    try:
        reply = await client.read(f"{service.inference_url}/v1/get-user-credits")
    except (NoResponse, RunStopped) as exc:
        return [*results, _unreachable("host", exc)]
    results.append(CheckResult(OK, "host", f"{service.inference_url} answers"))
    results += _clock(reply.headers, (before + client.clock()) / 2)
    if not service.api_key:
        return results
    if reply.status in {401, 403}:
        remedy = "Check SEGMIND_API_KEY."
        return [*results, CheckResult(FAIL, "key", f"is not accepted ({reply.reason}).", remedy)]
    if reply.status != 200:
        message = f"cannot be checked: the balance is not given ({reply.reason})."
        return [*results, CheckResult(WARN, "key", message, "Try again later.")]
    return [*results, CheckResult(OK, "key", "is accepted"), await _balance(client)]


async def _balance(client: Client) -> CheckResult:
    try:
        credit = await client.credits()
    except (NoResponse, RunStopped, ServiceError) as exc:
        return CheckResult(WARN, "balance", str(exc))
    message = f"{format_usd(credit.total)} ({format_usd(credit.free)} of it free)"
    if client.service.local:
        return CheckResult(OK, "balance", f"{message}, simulated")
    return (
        CheckResult(OK, "balance", message)
        if credit.total > 0
        else CheckResult(FAIL, "balance", f"{message}.", "Add credits.")
    )


def _clock(headers: Mapping[str, str], ours: float) -> list[CheckResult]:
    theirs = read_time(headers.get("date"))
    if theirs is None:
        return [
            CheckResult(WARN, "clock", "the service's answers carry no Date: the clocks cannot be compared.")
        ]
    skew = ours - theirs
    if abs(skew) <= SKEW_WARN_S:
        return [CheckResult(OK, "clock", f"within {max(abs(skew), 1):.0f} s of the service's")]
    message = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's."
    return [CheckResult(WARN, "clock", message, "Set it by NTP: lost submits are dated by it.")]


async def _reach(client: Client, name: str, base: str, path: str) -> CheckResult:
    """GET something harmless: any answer at all means that the host is there."""
    try:
        reply = await client.read(base.rstrip("/") + path)
    except (NoResponse, RunStopped) as exc:
        return _unreachable(name, exc)
    if reply.status >= 500:
        return CheckResult(WARN, name, f"{base} answers HTTP {reply.status}.", "Try again later.")
    return CheckResult(OK, name, f"{base} answers")


def _unreachable(name: str, exc: Exception) -> CheckResult:
    remedy = "Check the network, the proxy and the firewall." if isinstance(exc, NotDelivered) else ""
    return CheckResult(FAIL, name, f"{exc}{'' if str(exc).endswith('.') else '.'}", remedy)
