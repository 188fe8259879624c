"""A catalog's life, driven at random: nights, edits, moved images, outages, kills, new keys; and what was paid for it.

`Life` holds a catalog of a few rows, an output folder and the local server in hosted mode, whose own record of billed jobs
is the proof. Each step changes something or runs a command; after each step no piece of work may have been billed more
often than once, plus once for each yes a person gave for that very work. `offered` counts, by kind, the second payments
that a program without memory would have made.

Time is virtual: `Life.days` moves the clock of this process, of the server and of every child process.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import support

from batch.core.config import Timeouts
from batch.server import LocalApi
from batch.server.state import ServerState as Server

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = Path(__file__).parents[2] / "jobs"
DAY_S = 86_400.0
REAL_TIME = time.time
HASTE = Timeouts(
    image_s=0.2, hold_back_s=0.0, head_start_s=0.3, settle_again_s=0.2, settle_lag_s=1.0, history_tries=1, history_again_s=0.0,
    history_page_s=0.0,
)  # fmt: skip
"""Waits of a night that are not what is tested here."""

OUTAGES: dict[str, list[dict[str, Any]]] = {
    "an answer is lost": [{"call": "submit", "action": "reset_after", "first": 1}],
    "a gateway gives up on a submit": [
        {"call": "submit", "action": "status", "text": "gateway_timeout", "handled": True, "first": 2}
    ],
    "a framework's 500 hides an accepted submit": [
        {
            "call": "submit", "action": "status", "status": 500, "handled": True, "first": 1,
            "body": '{"timestamp": 1, "status": 500, "error": "Internal Server Error", "path": "/v2"}',
        }
    ],
    "an answer is lost and the history is down": [
        {"call": "submit", "action": "reset_after", "first": 1},
        {"call": "history", "action": "status", "status": 503},
    ],
    "images cannot be fetched": [{"call": "image", "action": "status", "status": 502}],
    "images are garbage": [{"call": "image", "action": "garbage"}],
    "polls fail": [{"call": "status", "action": "status", "status": 503}],
    "polls fail and the history is down": [
        {"call": "status", "action": "status", "status": 404},
        {"call": "history", "action": "status", "status": 503},
    ],
}  # fmt: skip


def canonical(parameters: dict[str, Any]) -> str:
    """Return the canonical JSON that the version before made its keys of."""
    named = {name: value for name, value in parameters.items() if name != "base64"}
    return json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


_CHILD = """
import sys, time
real, offset = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + offset
from batch.cli import main
main()
"""

STEPS = (
    ("add_a_row", 3, ""), ("edit_a_prompt", 2, ""), ("edit_a_note", 1, ""), ("edit_an_input", 1, ""),
    ("remove_a_row", 4, ""), ("bring_inputs_back", 3, ""), ("put_images_back", 2, ""), ("night", 6, ""), ("week", 2, ""),
    ("by_hand", 2, ""), ("retry", 1, ""), ("retry_with_a_yes", 1, ""), ("restore", 1, ""), ("resolve", 1, ""),
    ("days_pass", 4, ""),
    ("rename_a_row", 2, "renamed row"), ("put_a_row_back", 2, "put back row"), ("sign_again", 2, "signature"),
    ("change_a_query", 2, "query"), ("lose_an_input", 2, "input gone"), ("move_images", 2, "moved"),
    ("delete_an_image", 2, "deleted"), ("edit_an_image", 2, "edited image"), ("night_with_an_outage", 4, "lost answer"),
    ("night_that_is_killed", 2, "killed"), ("night_that_loses_its_log", 2, "lost tail"), ("a_row_expires", 2, "expired"),
    ("an_image_is_lost", 2, "unusable"), ("rotate_the_key", 1, "new key"), ("an_older_version_left_it", 1, "upgrade"),
    ("redo_a_row", 2, "redone"),
)  # fmt: skip
"""The steps of a life: how often each is taken, and which kind of second payment it brings about."""

KINDS = tuple(kind for _, _, kind in STEPS if kind)


class PaidTwice(AssertionError):
    """A piece of work was billed more often than a person agreed to."""


class Reverted(AssertionError):
    """What a person had made again is not the row's any more, although nobody edited the row."""


class Life:
    """One catalog, its folder and its service; every random choice comes from `seed`.

    `offered` goes on from life to life; `patch(thing, name, value)` sets what must be put back at the end.
    """

    def __init__(
        self,
        place: Path,
        seed: int,
        patch: Callable[..., None],
        offered: Counter[str] | None = None,
        wanted: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.place = place
        self.out = place / "out"
        self.shop = place / "shop"
        self.manifest = place / "pairs.csv"
        self.offset_s = 0.0
        self.story: list[str] = []
        self.said = self.planned = ""
        self.in_doubt = False  # the ledger lost its end, and what it forgot is not settled yet
        self.in_trouble = False
        self.compares_plans = True
        self.offered = Counter() if offered is None else offered
        self.wanted = wanted
        self.agreed: Counter[tuple[str, ...]] = Counter()
        self.rows: list[dict[str, str]] = []
        self.removed: list[dict[str, str]] = []
        self.redone: dict[
            str, tuple[tuple[str, str], str]
        ] = {}  # by id: what the manifest asked for, the seed it got
        self._numbers = iter(range(10_000))
        self._paid_as: dict[str, tuple[str, ...]] = {}
        self._contents: dict[str, str] = {}
        patch(time, "time", lambda: REAL_TIME() + self.offset_s)
        patch(Server.__init__, "__defaults__", (time.time, None))  # it was bound when the class was made
        patch("batch.cli.environment.TIMEOUTS", HASTE)
        self.api = LocalApi(**support.QUICK, price_usd=0.03)
        self.shop.mkdir(parents=True)
        (place / "products").mkdir()
        for _ in range(3):
            self.add_a_row()

    def close(self) -> None:
        self.api.close()

    # -- what a person does with the manifest --------------------------------------------------------------------------

    def add_a_row(self) -> None:
        number = next(self._numbers)
        kind = self.random.choice(("file", "file", "signed", "queried", "plain"))
        image = {
            "file": f"products/p{number}.png",
            "signed": f"https://cdn.example/p{number}.png?X-Amz-Date={number}&X-Amz-Signature=a{number}",
            "queried": f"https://cdn.example/p{number}.png?v=1",
            "plain": f"https://cdn.example/p{number}.png",
        }[kind]
        if kind == "file":
            support.picture(self.place / image, self._colour(), (8, 8))
        self.rows.append(
            {
                "id": f"row-{number}", "image_1": image, "image_2": "https://cdn.example/oak.png",
                "prompt": f"oak {number}", "seed": str(number), "note": "",
            }
        )  # fmt: skip

    def edit_a_prompt(self) -> None:
        row = self.random.choice(self.rows)
        row["prompt"] = f"{row['prompt'].partition(',')[0]}, finish {self.random.randrange(3)}"

    def edit_a_note(self) -> None:
        self.random.choice(self.rows)["note"] = f"note {self.random.randrange(99)}"

    def edit_an_input(self) -> None:
        for row in self._with_files():
            support.picture(self.place / row["image_1"], self._colour(), (8, 8))
            break

    def rename_a_row(self) -> None:
        row = self.random.choice(self.rows)
        before, row["id"] = row["id"], f"{row['id'].partition('.')[0]}.{next(self._numbers)}"
        if before in self.redone:
            self.redone[row["id"]] = self.redone.pop(before)

    def remove_a_row(self) -> None:
        if len(self.rows) > 2:
            self.removed.append(self.rows.pop(self.random.randrange(len(self.rows))))

    def put_a_row_back(self) -> None:
        if self.removed:
            self.rows.append(self.removed.pop())
            self.offered["put back row"] += self.status_of(self.rows[-1]["id"], anywhere=True) == "saved"

    def sign_again(self) -> None:
        for row in self.rows:
            if "X-Amz-Signature" in row["image_1"]:
                base = row["image_1"].partition("?")[0]
                row["image_1"] = f"{base}?X-Amz-Date=9&X-Amz-Signature=b{next(self._numbers)}"

    def change_a_query(self) -> None:
        for row in self.rows:
            if "?v=" in row["image_1"]:
                row["image_1"] = f"{row['image_1'].partition('?')[0]}?v={next(self._numbers)}"

    def lose_an_input(self) -> None:
        for row in self._with_files():
            path = self.place / row["image_1"]
            path.rename(path.with_suffix(".gone"))
            break

    def bring_inputs_back(self) -> None:
        for path in (self.place / "products").glob("*.gone"):
            path.rename(path.with_suffix(".png"))

    # -- what a person does with the images ------------------------------------------------------------------------------

    def move_images(self) -> None:
        for path in self._images():
            shutil.move(path, self.shop / path.name)

    def delete_an_image(self) -> None:
        for path in self._images()[:1]:
            path.unlink()

    def edit_an_image(self) -> None:
        for path in self._images()[:1]:
            support.picture(path, self._colour(), (9, 9))

    def put_images_back(self) -> None:
        for path in self.shop.iterdir():
            if not (self.out / "images" / path.name).exists() and (self.out / "images").is_dir():
                shutil.copy(path, self.out / "images" / path.name)

    # -- commands ----------------------------------------------------------------------------------------------------------

    def night(self) -> None:
        self.command("run", JOBS / "nightly.yaml")

    def night_with_an_outage(self) -> None:
        self.add_a_row()
        name = self.random.choice(list(OUTAGES))
        self.story.append(f"outage: {name}")
        self._in_trouble(*OUTAGES[name])

    def night_that_is_killed(self) -> None:
        """Kill the night at a random moment after its first job was accepted."""
        killed, accepted = self._killed_night()
        self.offered["killed"] += accepted if killed else 0
        self.check()

    def night_that_loses_its_log(self) -> None:
        """The same, and what SQLite had not put into the ledger yet is deleted."""
        killed, accepted = self._killed_night()
        if killed:
            (self.out / "ledger.sqlite-wal").unlink(missing_ok=True)
            (self.out / "ledger.sqlite-shm").unlink(missing_ok=True)
            self.offered["lost tail"] += accepted
            self.in_doubt = True
            self.redone.clear()
        self.check()

    def _killed_night(self) -> tuple[bool, int]:
        """Return whether the night was killed, and how many jobs were accepted in it."""
        self.add_a_row()
        self.add_a_row()
        before, reach = self.accepted(), self.random.randrange(1, 3)
        self.api.settings(latency_s=self.random.choice((0.0, 0.3)))
        self._write_manifest()
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(self.offset_s), "run", str(JOBS / "nightly.yaml")],
            env=os.environ | self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as child:  # fmt: skip
            while child.poll() is None and self.accepted() < before + reach:
                time.sleep(0.002)
            time.sleep(self.random.choice((0.0, 0.0, 0.01, 0.05)))
            child.kill()
        self.api.settings(latency_s=0.01)
        killed, accepted = child.returncode == -signal.SIGKILL, self.accepted() - before
        self.story.append(f"  killed: {killed}, {accepted} accepted")
        return killed, accepted

    def week(self) -> None:
        self.command("run", JOBS / "retry.yaml")

    def by_hand(self) -> None:
        self.command("run", self.manifest, "--out", self.out)

    def retry(self) -> None:
        self.command("retry", self.out)

    def retry_with_a_yes(self) -> None:
        """A person says yes at the command line: each expired or unusable row's work may be paid once more."""
        for row in self._report():
            if row["status"] == "expired" or (row["status"] == "failed" and row["cost"]):
                work = self._paid_as.get(row["request_id"])
                if work is not None:
                    self.agreed[work] += 1
        self.command("retry", self.out, "--yes")

    def redo_a_row(self) -> None:
        """A person does not like an image, and has it made again."""
        saved = [row for row in self.rows if self.status_of(row["id"]) == "saved"]
        if not saved or self.in_doubt or self._under_way():
            return
        row = self.random.choice(saved)
        if self.command("retry", self.out, "--only", row["id"], "--yes") == 0:
            self.redone[row["id"]] = self._asked_for(row), self._seed_of(row["id"])

    def restore(self) -> None:
        self.command("restore", self.out, *(["--from", self.shop] if self.random.random() < 0.5 else []))

    def resolve(self) -> None:
        self.command("resolve", self.out, "--reconcile")

    def days_pass(self) -> None:
        days = self.random.choice((1, 1, 1, 9, 40))
        self.story.append(f"{days} days")
        self.offset_s += days * DAY_S

    def rotate_the_key(self) -> None:
        self.api.settings(api_key=f"SG_{next(self._numbers):016x}")
        self.offered["new key"] += sum(
            row["status"] in {"unknown", "pending", "saved"} for row in self._report()
        )

    def a_row_expires(self) -> None:
        """A job is accepted and not seen again: its hour passes, then the history answers and does not list it."""
        if self._under_way():
            return
        self.add_a_row()
        self._in_trouble(
            {"call": "status", "action": "status", "status": 503},
            {"call": "history", "action": "status", "status": 503},
        )
        if "unknown" in self._states() or self.in_doubt:  # it may have been sent, and only the history knows
            return
        self.offset_s += DAY_S
        self.api.settings(history_lag_s=1e9)
        self.night()
        self.api.settings(history_lag_s=0.0 if self.random.random() < 0.3 else 1e9)
        self.retries()
        self.api.settings(history_lag_s=0)

    def an_image_is_lost(self) -> None:
        """What was paid for comes as garbage until its file is gone."""
        self.add_a_row()
        self._in_trouble({"call": "image", "action": "garbage"})
        self.offset_s += 9 * DAY_S
        self.night()
        self.retries()

    def retries(self) -> None:
        """Ask for failed and expired rows in one of the ways there are."""
        self.random.choice((self.week, self.retry, self.retry, self.retry_with_a_yes, self.days_pass))()

    def an_older_version_left_it(self) -> None:
        """Make the folder what the version before accounts, signatures and moved images would have left."""
        if not self._states() or self.in_doubt:
            return
        host = self.api.base_url.removeprefix("http://")
        support.made_by(self.out, 1, service=f"{host} with key {support.service_of(self.api).account.key}")
        (self.out / ".ledger-mark").unlink(missing_ok=True)
        self.redone.clear()  # no version before knew of redos
        with contextlib.closing(sqlite3.connect(self.out / "ledger.sqlite")) as ledger, ledger:
            for job, text in ledger.execute("SELECT job, parameters FROM jobs").fetchall():
                if "X-Amz-Signature" in text:  # it took the whole URL for what names the work
                    key = f"tb1-{hashlib.sha256(canonical(json.loads(text)).encode()).hexdigest()}"
                    ledger.execute("UPDATE rows SET asked_key=? WHERE job=?", (key, job))
                    ledger.execute("UPDATE OR IGNORE jobs SET payload_key=? WHERE job=?", (key, job))
        self.offered["upgrade"] += sum(state == "saved" for state in self._states())

    def _in_trouble(self, *faults: dict[str, Any]) -> None:
        self.api.faults(list(faults))
        self.in_trouble = True
        self.night()
        self.in_trouble = False

    # -- running and checking ---------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Take one random step; what has been offered less than `wanted` times so far comes more often."""
        weights = [
            weight * (3 if kind and self.offered[kind] < self.wanted else 1) for _, weight, kind in STEPS
        ]
        ((name, _, _),) = self.random.choices(STEPS, weights)
        self.story.append(name)
        getattr(self, name)()

    def plan(self, *args: str | Path) -> int:
        """Return how many jobs `plan` says that a run would send; -1 when it refuses, or cannot know.

        Of a row that is unknown or in flight only the service can say whether it will be sent; after a kill the reports do
        not show it yet.
        """
        self._write_manifest()
        code = self._main("plan", *args)
        self.planned = self.said
        if code != 0 or re.search(r"^ +(unknown|in flight) +[1-9]", self.said, re.MULTILINE):
            return -1
        return int(self.said.split(" to send")[0].rpartition("\n")[2].split()[0])

    def command(self, *args: str | Path) -> int:
        """Run a command in this process; check what was paid, and that `plan` had said so."""
        self._write_manifest()
        self._count_offers(args)
        planned = self.plan(*args[1:]) if args[0] == "run" and not self.in_trouble else -1
        before = self.accepted()
        code = self._main(*args)
        self.api.faults([])
        self.in_doubt = self.in_doubt and (code == 4 or args[0] not in {"run", "retry"})
        self.story.append(f"  texbatch {' '.join(map(str, args))} -> {code} {self.said.strip()[-160:]}")
        if code == 70:
            raise AssertionError("\n".join([*self.story, self.said]))
        self.check()
        if args[0] == "run" and code in {0, 1, 4, 7}:
            self._check_redone()
        if self.compares_plans and planned >= 0 and code in {0, 1} and planned != self.accepted() - before:
            raise AssertionError(
                "\n".join(
                    [
                        *self.story,
                        f"plan said {planned}, {self.accepted() - before} were sent",
                        self.planned,
                        self.said,
                    ]
                )
            )
        return code

    def _main(self, *args: str | Path) -> int:
        """Run a command with the environment of a machine that knows the service; `said` keeps what it said."""
        from batch.cli import main  # noqa: PLC0415

        environment, argv = dict(os.environ), sys.argv
        os.environ.update(self._environment())
        sys.argv = ["texbatch", *map(str, args)]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main()
        except SystemExit as end:
            return int(end.code or 0)
        finally:
            self.said = said.getvalue()
            sys.argv = argv
            os.environ.clear()
            os.environ.update(environment)
        raise AssertionError("unreachable")  # main always exits

    def check(self) -> None:
        """Compare the server's record of billed jobs with what was agreed to."""
        billed: Counter[tuple[str, ...]] = Counter()
        for job in self.api.stats()["jobs"]:
            work = self._paid_as.get(job["request_id"])
            if work is None:
                work = self._paid_as[job["request_id"]] = self._work_of(job["body"])
            billed[work] += job["state"] != "FAILED"
        for work, times in billed.items():
            if times > 1 + self.agreed[work]:
                raise PaidTwice(
                    "\n".join([*self.story, f"{work} was paid {times} times, {self.agreed[work]} agreed"])
                )

    def _check_redone(self) -> None:
        """Compare the report of a run with what a person had made again: it stays until the row is edited."""
        for row in self.rows:
            asked, seed = self.redone.get(row["id"], (None, ""))
            if asked is None:
                continue
            if self._asked_for(row) != asked:
                del self.redone[row["id"]]
            elif (now := self._seed_of(row["id"])) != seed:
                raise Reverted(
                    "\n".join([*self.story, f"{row['id']} was made with seed {seed}, and has {now}"])
                )
            else:
                self.offered["redone"] += 1

    def _asked_for(self, row: dict[str, str]) -> tuple[str, str]:
        """Return what a row asks for: its first image without a signature, by content where it is a file, and its prompt."""
        path = self.place / row["image_1"]
        link = row["image_1"].partition("?X-Amz")[0]
        gone = path.with_suffix(".gone")
        file = path if path.is_file() else gone
        content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else link
        return content, row["prompt"]

    def _seed_of(self, row_id: str) -> str:
        return next((row["seed"] for row in self._report() if row["id"] == row_id), "")

    def accepted(self) -> int:
        return self.api.stats(jobs=False)["accepted"]

    def _under_way(self) -> bool:
        """Tell whether any job may be at the service: what becomes of it no plan can know."""
        return any(
            state in {"sending", "unknown", "accepted", "completed", "expired"} for state in self._states()
        )

    def _states(self) -> list[str]:
        if not (self.out / "ledger.sqlite").exists():
            return []
        with contextlib.closing(sqlite3.connect(self.out / "ledger.sqlite")) as ledger:
            return [state for (state,) in ledger.execute("SELECT state FROM jobs").fetchall()]

    def status_of(self, row_id: str, *, anywhere: bool = False) -> str | None:
        """Return the status of a row by the ledger, `anywhere` also of one that left the manifest."""
        if not (self.out / "ledger.sqlite").exists():
            return None
        wanted = "" if anywhere else "AND r.position IS NOT NULL"
        with contextlib.closing(sqlite3.connect(self.out / "ledger.sqlite")) as ledger:
            found = ledger.execute(
                f"SELECT j.state FROM rows r JOIN jobs j USING (job) WHERE r.id=? {wanted}", (row_id,)
            ).fetchone()
        return found[0] if found else None

    def _count_offers(self, args: tuple[str | Path, ...]) -> None:
        """Count the second payments that this command could make, by kind."""
        if args[0] not in {"run", "retry"}:
            return
        retries = args[0] == "retry" or "retry.yaml" in str(args[-1])
        before = {row["id"]: row for row in self._report()}
        now = {row["id"]: row for row in self.rows}
        for row_id, row in before.items():
            wanted = now.get(row_id)
            if row["status"] == "saved" and wanted is not None and wanted["prompt"] == row["prompt"]:
                self.offered.update(self._offers_of_a_saved(row, wanted["image_1"]))
            self.offered["expired"] += retries and row["status"] == "expired"
            self.offered["unusable"] += retries and row["status"] == "failed" and bool(row["cost"])
            self.offered["lost answer"] += row["status"] == "unknown"
        self.offered["renamed row"] += sum(row["id"] not in before and "." in row["id"] for row in self.rows)

    def _offers_of_a_saved(self, row: dict[str, str], wanted: str) -> list[str]:
        image = self.out / row["output_path"]
        offers = {
            "moved": not image.exists() and (self.shop / image.name).exists(),
            "deleted": not image.exists() and not (self.shop / image.name).exists(),
            "edited image": row["output_state"] == "changed",
            "signature": "Signature" in wanted and wanted != row["image_1"],
            "query": "?v=" in wanted and wanted != row["image_1"],
            "input gone": wanted.startswith("products/") and not (self.place / wanted).exists(),
        }
        return [kind for kind, offered in offers.items() if offered]

    def _work_of(self, body: dict[str, Any]) -> tuple[str, ...]:
        return (self._image(body["image_1"]), self._image(body["image_2"]), body["prompt"], str(body["seed"]))

    def _image(self, url: str) -> str:
        """Return what an image is, whatever its URL: its content for an upload, else its address without the query."""
        if not url.startswith(self.api.base_url):
            return url.partition("?")[0]
        if url not in self._contents:
            with urllib.request.urlopen(url) as answer:
                self._contents[url] = answer.read().hex()
        return self._contents[url]

    def _environment(self) -> dict[str, str]:
        return {
            "CATALOG": str(self.manifest), "CATALOG_OUT": str(self.out), "SEGMIND_BASE_URL": self.api.base_url,
            "SEGMIND_API_KEY": self.api.api_key, "TEXBATCH_SETTLE": "0.1s", "TEXBATCH_JOB_TIMEOUT": "0.5s", "TEXBATCH_PROGRESS": "none",
        }  # fmt: skip

    def _write_manifest(self) -> None:
        support.write_csv(self.manifest, self.rows)

    def _report(self) -> list[dict[str, str]]:
        path = self.out / "report.csv"
        if not path.exists():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _images(self) -> list[Path]:
        images = self.out / "images"
        found = sorted(path for path in images.glob("*.*") if path.is_file()) if images.is_dir() else []
        self.random.shuffle(found)
        return found

    def _with_files(self) -> list[dict[str, str]]:
        rows = [row for row in self.rows if (self.place / row["image_1"]).is_file()]
        self.random.shuffle(rows)
        return rows

    def _colour(self) -> str:
        return f"#{self.random.randrange(0x1000000):06x}"
