"""What the tests of the whole share: manifests, servers, the real command, and what a run left behind."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import os
import pty
import queue
import select
import sqlite3
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Self

from PIL import Image

from batch import RunSettings, Service, run
from batch.core.config import Backoff, Reading, Timeouts
from batch.ledger import connection as opening
from batch.server import placeholder_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch import RunHooks, RunResult
    from batch.server import LocalApi, LocalProcess

PRODUCT = "https://pictures.example/chair.png"
TEXTURE = "https://pictures.example/oak.png"

KEY = "SG_of_the_servers_in_tests"
"""One key for all: what leaves it out of every answer is compiled once."""

TIMEOUTS = Timeouts()

A_TENTH = {
    "no_answer": Backoff(0.1, 30.0, least=0.5), "retry": Backoff(0.05, 5.0, least=0.5), "not_accepted": Backoff(0.1, 20.0),
    "unreachable": Backoff(0.1, 30.0, least=1.0), "history_again_s": 0.03, "history_page_s": 0.02, "reset_margin_s": 0.05,
    "probe_s": 0.5, "settle_again_s": 1.5,
}  # fmt: skip
"""Pauses between attempts, for tests that are not about their length."""
"""How long the services of a test are waited for; the fixture `waits` changes it."""

QUICK = {"engine": "placeholder", "seed": 1, "workers": 64, "latency": "fixed", "latency_s": 0.01}
"""A local server that answers with tiny pictures at once."""


def rows(count: int, *, first: int = 0, **columns: str) -> list[dict[str, object]]:
    """Return rows of a manifest that differ in id, prompt and seed."""
    return [
        {"id": f"row-{n}", "image_1": PRODUCT, "image_2": TEXTURE, "prompt": f"oak {n}", "seed": n, **columns}
        for n in range(first, first + count)
    ]


def write_csv(path: Path, lines: Iterable[Mapping[str, object]]) -> Path:
    """Write a manifest with the columns of its first row."""
    lines = list(lines)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (40, 30)) -> Path:
    """Write a small picture of one colour, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def service_at(url: str, **more: object) -> Service:
    """Return the service whose three hosts are at one URL."""
    return Service(url, url, url, timeouts=TIMEOUTS, **more)


def service_of(api: LocalApi | LocalProcess) -> Service:
    """Return a local server as if it were the hosted service: paid, with a key."""
    return service_at(api.base_url, api_key=api.api_key)


def environment(api: LocalApi | LocalProcess, **more: str) -> dict[str, str]:
    """Return this process's environment with the server as the hosted service, and no other setting of texbatch."""
    names = [name for name in os.environ if not name.startswith(("SEGMIND_", "TEXBATCH_"))]
    settled = {name: os.environ[name] for name in names}
    return settled | {"SEGMIND_BASE_URL": api.base_url, "SEGMIND_API_KEY": api.api_key} | more


def go(
    api: LocalApi | LocalProcess,
    manifest: Path,
    out: Path,
    *,
    listener: RunHooks | None = None,
    merge: bool | None = None,
    name: str | None = None,
    **settings: object,
) -> RunResult:
    """Run a manifest in this process against a server."""
    reading = Reading() if name is None else Reading(name=name)
    return run(
        manifest, RunSettings(out, reading, **settings), service_of(api), merge=merge, listener=listener
    )  # fmt: skip


class Command:
    """The real command in a process of its own, its output read while it runs; killed at the end of a `with` block."""

    def __init__(self, *args: str | Path, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self.lines: list[str] = []
        self._heard: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "batch", *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self._process.kill()
        self.end()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line)
            self._heard.put(line)
        self._heard.put(None)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def hears(self, text: str, times: int = 1) -> bool:
        """Wait until `times` more lines contain `text`; False when the command ends first."""
        while times:
            line = self._heard.get(timeout=240)
            if line is None:
                return False
            times -= text in line
        return True

    def sees(self, happened: Callable[[], bool]) -> bool:
        """Wait until something has happened elsewhere; False when the command ends first."""
        while not happened():
            if not self.running:
                return False
            time.sleep(0.01)
        return True

    def kick(self, signum: int) -> None:
        """Send a signal and go on."""
        self._process.send_signal(signum)

    def signal(self, signum: int) -> int:
        """Send a signal and return the exit code."""
        self._process.send_signal(signum)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit code; negative for a signal."""
        with self._process:
            code = self._process.wait(240)
        self._reader.join()
        return code


def texbatch(*args: str | Path, env: Mapping[str, str], cwd: Path | None = None) -> Command:
    """Run the command to its end."""
    command = Command(*args, env=env, cwd=cwd)
    command.end()
    return command


@contextmanager
def on_a_terminal(
    *args: str | Path, env: Mapping[str, str], cwd: Path | None = None, size: tuple[int, int] = (40, 160)
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the command on a pseudo-terminal of so many lines and columns that controls it; give it and our end.

    It is killed at the end of the block.
    """
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, size)
    process = subprocess.Popen(
        [sys.executable, "-m", "batch", *map(str, args)],
        stdin=its, stdout=its, stderr=its, env=dict(env), cwd=cwd,
        start_new_session=True, preexec_fn=_take_the_terminal,  # noqa: PLW1509  no threads of the child's own yet
    )  # fmt: skip
    os.close(its)
    try:
        with process:
            try:
                yield process, ours
            finally:
                process.kill()
    finally:
        os.close(ours)


def _take_the_terminal() -> None:
    """Make the standard input the terminal whose Ctrl-C reaches this process."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def seen_on(
    terminal: int, enough: Callable[[str], bool] = lambda _: False, *, patience_s: float = 60.0
) -> str:
    """Read what a pseudo-terminal shows until it is enough, until its command ends, or until it shows nothing more."""
    seen = bytearray()
    while not enough(seen.decode(errors="replace")):
        ready, _, _ = select.select([terminal], [], [], patience_s)
        try:
            piece = os.read(terminal, 65_536) if ready else b""
        except OSError:  # Linux: the other side is closed
            break
        if not piece:
            break
        seen += piece
    return seen.decode()


def table(path: Path) -> list[dict[str, str]]:
    """Return a report or a list of failures."""
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def report(out: Path) -> list[dict[str, str]]:
    return table(out / "report.csv")


def by_id(out: Path) -> dict[str, dict[str, str]]:
    return {row["id"]: row for row in report(out)}


def statuses(out: Path) -> Counter[str]:
    return Counter(row["status"] for row in report(out))


def summary(out: Path) -> dict[str, object]:
    return json.loads((out / "summary.json").read_text(encoding="utf-8"))


def submits(api: LocalApi | LocalProcess) -> int:
    """Return how many submits a server has heard."""
    return api.stats(jobs=False)["calls"]["submit"]


def accepted_twice(stats: Mapping[str, object]) -> list[str]:
    """Return the bodies that the server accepted more than once, by its own record."""
    return [body for body, count in stats["accepted_by_body"].items() if count > 1]


def assert_pictures_belong(out: Path, stats: Mapping[str, object]) -> None:
    """Every saved row's file is the picture of the very body that the server accepted for this row."""
    bodies = {job["request_id"]: job["body"] for job in stats["jobs"]}
    for row in report(out):
        if row["status"] == "saved":
            body = bodies[row["request_id"]]
            assert (body["prompt"], str(body["seed"])) == (row["prompt"], row["seed"])
            data = (out / row["output_path"]).read_bytes()
            assert data == placeholder_image(body), row["id"]
            assert hashlib.sha256(data).hexdigest() == row["output_sha256"]


def assert_ledger_sound(out: Path) -> None:
    """The ledger opens, holds together, and every job stands where its last event led."""
    connection = sqlite3.connect(out / "ledger.sqlite")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        adrift = connection.execute(
            "SELECT j.job, j.state, e.state FROM jobs j JOIN events e USING (job) "
            "WHERE e.seq = (SELECT max(seq) FROM events WHERE job = j.job) AND j.state <> e.state"
        ).fetchall()
        assert adrift == []
    finally:
        connection.close()


def sql(out: Path, *texts: str) -> None:
    """Change a folder's ledger by hand."""
    connection = sqlite3.connect(out / "ledger.sqlite")
    with closing(connection), connection:
        for text in texts:
            connection.execute(text)


def events(out: Path, event: str) -> int:
    """Return how often something happened, by the ledger."""
    connection = sqlite3.connect(out / "ledger.sqlite")
    try:
        return connection.execute("SELECT count(*) FROM events WHERE event=?", (event,)).fetchone()[0]
    finally:
        connection.close()


def files_in(folder: Path) -> list[str]:
    """Return every file below a folder, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def without_controls(text: str) -> bool:
    """Tell whether a text has no control characters but line ends."""
    return all(character == "\n" or character.isprintable() for character in text)


def ids(lines: Sequence[Mapping[str, str]]) -> list[str]:
    return [line["id"] for line in lines]


def made_by(out: Path, version: int, **meta: str) -> None:
    """Turn a folder's ledger into what the texbatch that knew so many of the migrations would have left.

    Each table it knew keeps its rows; what came later is dropped. `meta` is put in as it wrote it.
    """
    path, old = out / "ledger.sqlite", out / "old.sqlite"
    with closing(sqlite3.connect(old, isolation_level=None)) as made:
        for script in opening.MIGRATIONS[:version]:
            made.executescript((files("batch.ledger") / script).read_text(encoding="utf-8"))
        made.execute(f"PRAGMA application_id={opening.APPLICATION_ID}")
        made.execute(f"PRAGMA user_version={version}")
        made.execute("ATTACH ? AS new", (str(path),))
        made.execute("PRAGMA foreign_keys=OFF")
        for (table,) in made.execute("SELECT name FROM main.sqlite_master WHERE type='table'").fetchall():
            known = [row[1] for row in made.execute(f"PRAGMA main.table_info({table})")]
            there = {row[1] for row in made.execute(f"PRAGMA new.table_info({table})")}
            columns = ", ".join(name for name in known if name in there)
            made.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        made.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())
        made.execute("DELETE FROM meta WHERE name='sealed'")
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (out / name).unlink(missing_ok=True)
    old.replace(path)
