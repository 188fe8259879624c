"""The asynchronous ledger: many callers, one commit, each answer its own."""

import asyncio
import re
import sqlite3
import sys
import threading
from pathlib import Path

import anyio
import pytest
from anyio import CancelScope
from anyio.lowlevel import checkpoint

import batch
from batch.core.errors import FolderError, InvalidTransition
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.ledger import Ledger
from batch.ledger.states import Event

pytestmark = pytest.mark.anyio


class Slow:
    """A call that holds the ledger's thread until it is released, so that others pile up behind it."""

    def __init__(self):
        self.begun, self.release = threading.Event(), threading.Event()

    def __call__(self, _ledger):
        self.begun.set()
        self.release.wait(10)


async def begun(slow):
    await anyio.to_thread.run_sync(slow.begun.wait, 10)


@pytest.fixture
def commits(monkeypatch):
    """Count the transactions."""
    seen = []
    atomic = Ledger.atomic
    monkeypatch.setattr(Ledger, "atomic", lambda ledger: (seen.append(1), atomic(ledger))[1])
    return seen


async def test_calls_that_arrive_during_a_commit_share_the_next_one(book, commits):
    slow = Slow()
    async with open_async_ledger(book.ledger) as async_ledger, anyio.create_task_group() as tasks:
        tasks.start_soon(async_ledger.run, slow)
        await begun(slow)
        for number in range(50):
            tasks.start_soon(async_ledger.run, lambda ledger, n=number: ledger.set_meta(f"n{n}", "x"))
        await checkpoint()
        slow.release.set()
    assert len(commits) == 2
    assert (
        book.ledger.connection.execute("SELECT count(*) FROM meta WHERE name LIKE 'n%'").fetchone()[0] == 50
    )


async def test_an_illegal_call_undoes_itself_and_not_its_neighbours(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3"))
    jobs = [book.job(name) for name in "abc"]
    slow, ends = Slow(), {}

    async def call(name, job, event):
        def work(ledger):
            ledger.set_meta(name, "begun")
            return ledger.transition(job, event)

        try:
            ends[name] = await async_ledger.run(work)
        except InvalidTransition as exc:
            ends[name] = type(exc)

    async with open_async_ledger(book.ledger) as async_ledger, anyio.create_task_group() as tasks:
        tasks.start_soon(async_ledger.run, slow)
        await begun(slow)
        for name, job, event in zip("abc", jobs, [Event.RESERVE, Event.KEEP, Event.RESERVE], strict=True):
            tasks.start_soon(call, name, job, event)
        await checkpoint()
        slow.release.set()
    assert ends == {"a": "sending", "b": InvalidTransition, "c": "sending"}
    assert book.states() == {"a": "sending", "b": "planned", "c": "sending"}
    assert [book.ledger.meta(name) for name in "abc"] == ["begun", None, "begun"]


async def test_the_answer_comes_when_it_is_on_disk(book, payload):
    book.adopt(payload("a"))
    job = book.job("a")
    async with open_async_ledger(book.ledger) as async_ledger:
        await async_ledger.run(lambda ledger: ledger.transition(job, Event.RESERVE))
        with Ledger.read(book.ledger.path) as other:
            assert other.connection.execute("SELECT state FROM jobs").fetchone()[0] == "sending"


async def test_what_a_cancelled_caller_handed_in_is_still_written(book, payload):
    book.adopt(payload("a"))
    job, slow = book.job("a"), Slow()
    async with open_async_ledger(book.ledger) as async_ledger, anyio.create_task_group() as outer:
        outer.start_soon(async_ledger.run, slow)
        await begun(slow)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(async_ledger.run, lambda ledger: ledger.transition(job, Event.RESERVE))
            await checkpoint()
            tasks.cancel_scope.cancel()
        slow.release.set()
    assert book.states() == {"a": "sending"}


async def test_what_was_handed_in_is_written_when_everything_is_cancelled(book, payload):
    book.adopt(payload("a"))
    job, slow = book.job("a"), Slow()
    with anyio.CancelScope() as scope:
        async with open_async_ledger(book.ledger) as async_ledger, anyio.create_task_group() as tasks:
            tasks.start_soon(async_ledger.run, slow)
            await begun(slow)
            tasks.start_soon(async_ledger.run, lambda ledger: ledger.transition(job, Event.RESERVE))
            await checkpoint()
            scope.cancel()
            slow.release.set()
    assert scope.cancelled_caught
    assert book.states() == {"a": "sending"}


async def test_a_commit_that_fails_reaches_everybody_of_its_group(book):
    slow, ends = Slow(), []

    def breaks_the_commit(ledger):
        ledger.connection.execute("PRAGMA defer_foreign_keys=ON")
        ledger.connection.execute(
            "INSERT INTO rows (id, job, asked_key, output, cells, files) VALUES ('x', 999, '', '', '', '')"
        )

    async def call(work):
        try:
            await async_ledger.run(work)
        except sqlite3.IntegrityError:
            ends.append("failed")

    async with open_async_ledger(book.ledger) as async_ledger, anyio.create_task_group() as tasks:
        tasks.start_soon(async_ledger.run, slow)
        await begun(slow)
        tasks.start_soon(call, breaks_the_commit)
        tasks.start_soon(call, lambda ledger: ledger.set_meta("innocent", "x"))
        await checkpoint()
        slow.release.set()
    assert ends == ["failed", "failed"]
    assert book.ledger.meta("innocent") is None


async def test_the_desk_works_on_after_a_commit_that_failed(book):
    async with open_async_ledger(book.ledger) as async_ledger:
        with pytest.raises(FolderError):
            await async_ledger.run(lambda ledger: ledger.connection.execute("COMMIT"))
        await async_ledger.run(lambda ledger: ledger.set_meta("after", "x"))
    assert book.ledger.meta("after") == "x"


async def test_a_commit_that_finds_no_thread_reaches_everybody_and_is_not_made_up_for(book, monkeypatch):
    """Who waits behind a shield is answered too; what was told to have failed is never written later."""
    start, starts = threading.Thread.start, []

    def scarce(thread):
        starts.append(thread)
        if len(starts) <= 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    async def call(name):
        with CancelScope(shield=True), pytest.raises(FolderError, match=r"can't start new thread.*ulimit"):
            await async_ledger.run(lambda ledger: ledger.set_meta(name, "x"))
        ends.append(name)

    ends = []
    with anyio.fail_after(60):
        async with open_async_ledger(book.ledger) as async_ledger:
            monkeypatch.setattr(threading.Thread, "start", scarce)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call, "a")
                tasks.start_soon(call, "b")
            await async_ledger.run(lambda ledger: ledger.set_meta("after", "x"))
    assert sorted(ends) == ["a", "b"]
    assert [book.ledger.meta(name) for name in ("a", "b", "after")] == [None, None, "x"]


def test_a_desk_whose_loop_ends_first_ends_its_commit(book):
    """A loop that cancels all its tasks pierces every shield; the thread has the ledger open."""
    slow, left = Slow(), []

    async def serve():
        try:
            async with open_async_ledger(book.ledger) as async_ledger:
                await async_ledger.run(lambda ledger: (slow(ledger), ledger.set_meta("slow", "x")))
        finally:
            left.append((slow.release.is_set(), book.ledger.connection.in_transaction))

    async def script():
        serving = asyncio.ensure_future(serve())
        await begun(slow)
        threading.Timer(0.2, slow.release.set).start()
        return serving

    assert asyncio.run(script()).cancelled()
    assert left == [(True, False)]
    assert book.ledger.meta("slow") == "x"


async def test_a_transition_passes_four_functions(book, payload):
    """Besides those of the commit, which all calls that wait share: run, _commit, transition, next_state."""
    book.adopt(payload("a"))
    job, passed = book.job("a"), set()

    def note(frame, event, _arg):
        if event == "call" and frame.f_code.co_filename.startswith(str(Path(batch.__file__).parent)):
            passed.add(re.sub(r"\.<locals>\.<(listcomp|genexpr)>$", "", frame.f_code.co_qualname))

    threading.setprofile(note)  # the ledger's thread begins below
    sys.setprofile(note)
    try:
        async with open_async_ledger(book.ledger) as async_ledger:
            await async_ledger.run(lambda ledger: ledger.transition(job, Event.RESERVE))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    commit = {"open_async_ledger", "Ledger.atomic", "Ledger._in_place", "Ledger.savepoint"}
    way = {"GroupCommit.run", "GroupCommit._commit", "Ledger.transition", "next_state"}
    assert passed - commit == way
