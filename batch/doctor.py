"""Is everything there that a run needs? Looked at without spending: no job is submitted, no state is changed.

Each examination is a function that returns Findings and never raises for what it examines, so that one visit tells all
that is wrong. What it needs from the environment (key, hosts, proxies) is handed in.
"""

from __future__ import annotations

import fcntl
import platform
import shutil
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from batch.errors import EXIT_OK, EXIT_STOPPED, NoAnswer, NotDelivered, RunStopped, ServiceError
from batch.ledger import probe
from batch.remote.client import Client
from batch.remote.history import PATH as HISTORY_PATH
from batch.remote.values import read_time
from batch.work import local_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.config import Service

OK, WARN, FAIL = "ok", "warn", "fail"

SKEW_WARN_S = 30.0
ROOM_WARN = 1024**3
ROOM_FAIL = 64 * 1024**2
LIBRARIES = ("httpx", "aiohttp", "anyio", "pandas", "pillow", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one examination found: `grade` is ok, warn or fail; `remedy` what to do, where there is something to do."""

    grade: str
    subject: str
    told: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.grade:<5} {self.subject:<9} {self.told}{f' {self.remedy}' if self.remedy else ''}"


def exit_code(findings: list[Finding]) -> int:
    """Return 0, or 3 when something would stop a run."""
    return EXIT_STOPPED if any(finding.grade == FAIL for finding in findings) else EXIT_OK


def examine(out: Path, service: Service | None) -> list[Finding]:
    """Examine this machine, the output folder and the service; None means the local one, started for the occasion."""
    return [*_versions(), *_disk(out), *anyio.run(_service, service)]


def _versions() -> Iterator[Finding]:
    yield Finding(
        OK, "versions", f"texbatch {metadata.version('texbatch')}, Python {platform.python_version()}, "
        f"SQLite {probe.SQLITE}, {platform.system()} {platform.release()}",
    )  # fmt: skip
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding(OK, "libraries", ", ".join(found))
    if missing:
        yield Finding(
            FAIL, "libraries", f"not installed: {', '.join(missing)}.", "Install texbatch again with pip."
        )


def _disk(out: Path) -> Iterator[Finding]:
    """Examine the folder, or the nearest one above it; what is written there for it is taken away again."""
    here = out.resolve()
    while not here.exists():
        here = here.parent
    if not here.is_dir():
        yield Finding(FAIL, "disk", f"{here} is no folder.", "Give another --out.")
        return
    free = shutil.disk_usage(here).free
    room = f"{free / 1024**3:.1f} GiB free in {here}"
    grade = FAIL if free < ROOM_FAIL else WARN if free < ROOM_WARN else OK
    yield Finding(grade, "disk", room + ("" if grade == OK else "."), "" if grade == OK else "Make room.")
    try:
        with tempfile.TemporaryDirectory(dir=here, prefix=".texbatch-doctor-") as name:
            yield from _locks(Path(name))
    except OSError as exc:
        yield Finding(
            FAIL,
            "folder",
            f"{here} cannot be written ({exc.strerror}).",
            "Make it writable, or give another --out.",
        )


def _locks(here: Path) -> Iterator[Finding]:
    with (here / "lock").open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            yield Finding(
                FAIL, "lock", f"this file system cannot lock ({exc.strerror}).", "Use a local disk for --out."
            )
        else:
            yield Finding(OK, "lock", "the file system locks files")
    reason = probe.why_not(here)
    if reason is None:
        yield Finding(OK, "ledger", "the file system holds a ledger (SQLite, WAL)")
    else:
        told = f"this file system cannot hold a ledger ({reason})."
        yield Finding(FAIL, "ledger", told, "Use a local disk for --out.")


async def _service(service: Service | None) -> list[Finding]:
    async with AsyncExitStack() as stack:
        remote = await stack.enter_async_context(local_service()) if service is None else service
        client = await stack.enter_async_context(Client(remote))
        findings = [_network(remote)]
        findings += await _account(client)
        for name, base, path in (
            ("uploads", remote.upload_url, "/"),
            ("history", remote.history_url, f"{HISTORY_PATH}?page=1&per_page=1"),
        ):
            findings.append(await _reach(client, name, base, path))
        return findings


def _network(service: Service) -> Finding:
    """Say which proxies and certificates are in use; a proxy's user and password are left out."""
    proxies = ", ".join(
        f"{scheme} over {urlsplit(proxy).hostname}:{urlsplit(proxy).port or ''}".rstrip(":")
        for scheme, proxy in sorted(service.network.proxies.items())
    )
    direct = (
        f", but not for {', '.join(service.network.no_proxy)}" if proxies and service.network.no_proxy else ""
    )
    ca = f"; certificates from {service.network.ca_file}" if service.network.ca_file else ""
    return Finding(OK, "proxies", f"{proxies or 'none'}{direct}{ca}")


async def _account(client: Client) -> list[Finding]:
    """Read the balance: tells whether the host answers, the key is taken, the clocks agree and jobs can be paid."""
    service, before = client.service, client.clock()
    findings = []
    if not service.api_key:
        remedy = "Set SEGMIND_API_KEY, or give --api-key-file, or put it in a .env beside the job."
        findings.append(Finding(FAIL, "key", "there is none.", remedy))
    try:
        reply = await client.read(f"{service.inference_url}/v1/get-user-credits")
    except (NoAnswer, RunStopped) as exc:
        return [*findings, _unreachable("host", exc)]
    findings.append(Finding(OK, "host", f"{service.inference_url} answers"))
    findings += _clock(reply.headers, (before + client.clock()) / 2)
    if not service.api_key:
        return findings
    if reply.status in {401, 403}:
        remedy = "Check SEGMIND_API_KEY."
        return [*findings, Finding(FAIL, "key", f"is not accepted ({reply.reason}).", remedy)]
    if reply.status != 200:
        told = f"cannot be told: the balance is not given ({reply.reason})."
        return [*findings, Finding(WARN, "key", told, "Try again later.")]
    return [*findings, Finding(OK, "key", "is accepted"), await _balance(client)]


async def _balance(client: Client) -> Finding:
    try:
        credit = await client.credits()
    except (NoAnswer, RunStopped, ServiceError) as exc:
        return Finding(WARN, "balance", str(exc))
    told = f"${credit.total / 1_000_000:.2f} (${credit.free / 1_000_000:.2f} of it free)"
    if client.service.local:
        return Finding(OK, "balance", f"{told}, simulated")
    return (
        Finding(OK, "balance", told)
        if credit.total > 0
        else Finding(FAIL, "balance", f"{told}.", "Add credits.")
    )


def _clock(headers: Mapping[str, str], ours: float) -> list[Finding]:
    theirs = read_time(headers.get("date"))
    if theirs is None:
        return [Finding(WARN, "clock", "the service's answers carry no Date: the clocks cannot be compared.")]
    skew = ours - theirs
    if abs(skew) <= SKEW_WARN_S:
        return [Finding(OK, "clock", f"within {max(abs(skew), 1):.0f} s of the service's")]
    told = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's."
    return [Finding(WARN, "clock", told, "Set it by NTP: lost submits are dated by it.")]


async def _reach(client: Client, name: str, base: str, path: str) -> Finding:
    """GET something harmless: any answer at all means that the host is there."""
    try:
        reply = await client.read(base.rstrip("/") + path)
    except (NoAnswer, RunStopped) as exc:
        return _unreachable(name, exc)
    if reply.status >= 500:
        return Finding(WARN, name, f"{base} answers HTTP {reply.status}.", "Try again later.")
    return Finding(OK, name, f"{base} answers")


def _unreachable(name: str, exc: Exception) -> Finding:
    remedy = "Check the network, the proxy and the firewall." if isinstance(exc, NotDelivered) else ""
    return Finding(FAIL, name, f"{exc}{'' if str(exc).endswith('.') else '.'}", remedy)
