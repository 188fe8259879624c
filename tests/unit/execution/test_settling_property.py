"""Worlds in which submits were lost, and what is settled about them: never paid twice, and settled when it is provable.

A world has its truth (which lost submits arrived), a service that tells it in its own way (clocks of several nodes,
tidied bodies, cut times, short and odd pages, lag, copies), and other people's requests. Only the telling is seen by
the code under test: the history is read page by page, then reconciled, as a run does it.

What "absent" promises rests on: each request is listed within the settle time; nodes' clocks are less than an hour off;
prompts of one form are tidied alike, where tidying changes their letters. Nothing else is assumed.
"""

from __future__ import annotations

import contextlib
import email.utils
import html
import math
import re
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import anyio
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tiers import examples

from batch.client import history
from batch.client.calls import ClockSkew
from batch.client.history_page import read_entry
from batch.client.responses import Reply
from batch.core.config import Service, Timeouts
from batch.core.errors import NoResponse
from batch.core.parameters import MODEL
from batch.execution.reconcile_rules import (
    Absent,
    Found,
    reconcile,
)
from batch.ledger.store import OwnRequest, UnconfirmedSubmit

T = 1_800_000_000.0  # 08:00:00 UTC
SETTLE_S = 120.0
PAGE = 6  # rows a page is asked for, so that a small history has several

QUICK = settings(**examples(250), suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=5_000)


@dataclass(frozen=True)
class Request:
    """A request that the service took: whose it is, what was sent, when (true time), how it is told."""

    name: str
    whose: str
    body: dict
    at: float
    shown: dict
    told_at: object
    lag: float
    copies: int
    cost: object


@dataclass(repr=False)
class World:
    """The truth, and the way the service tells it."""

    lost: list[UnconfirmedSubmit]
    arrived: dict[int, Request]
    own: list[OwnRequest]
    requests: list[Request]
    now: float  # our clock
    ours: float  # our clock minus the true one
    skew_then: float | None
    dates: list[float | None]  # of the answers, one after the other: the node's clock minus the true one
    cap: int  # rows a page has at the most
    skips: bool  # a page begins where the one before would have ended
    total: str
    odd: dict[int, str] = field(default_factory=dict)  # which answers are odd, and how

    def __repr__(self):
        """Return the world as a list, times in seconds since T."""
        sent = [
            (submit.job, submit.body, submit.reserved_at - T, submit.ended_at - T) for submit in self.lost
        ]
        lines = [f"lost {line}" for line in sent] + [str(request) for request in self.requests]
        more = {
            name: value
            for name, value in vars(self).items()
            if name not in {"lost", "own", "requests", "arrived"}
        }
        return "\n".join(["World", *lines, f"arrived {sorted(self.arrived)}", str(more)])


# -- how bodies are tidied --------------------------------------------------------------------------------------------


def plain_encoded(text):
    return urllib.parse.quote(text, safe="".join(map(chr, range(32, 127))))


SLIGHT = {  # changes no letter: any row may be tidied so, or not
    "as it is": str,
    "stripped": str.strip,
    "spaces joined": lambda text: " ".join(text.split()),
    "escaped": html.escape,
    "small letters": str.lower,
    "with a dot": lambda text: text + ".",
}
GRAVE = {  # changes letters: rows of one form are tidied alike
    "as it is": str,
    "percent-encoded": plain_encoded,
    "letters left out": lambda text: text.encode("ascii", "ignore").decode(),
    "ampersand written out": lambda text: text.replace("&", "and"),
    "escapes": lambda text: text.encode("unicode_escape").decode(),
    "tags taken out": lambda text: text.replace("<b>", "").replace("</b>", "").replace("<", ""),
}
PICTURES = {  # any row's picture may be told so
    "as it is": str,
    "percent-encoded": plain_encoded,
    "without its query": lambda url: url.partition("?")[0],
    "its host in small letters": str.lower,
    "a copy": lambda _: "https://copies/1.png",
}

PROMPTS = [
    "oak",
    "oak ",
    "Oak",
    "elm",
    "Eiche, geölt",
    "Eiche, gewachst",
    "oak & elm",
    "<b>oak</b>",
    "橡木",
    "oak\non a chair",
]
PLAIN = ["oak", "elm", "ash", "a long prompt of oak on a chair, in the light of a winter's day", "walnut"]
SEEDS = [7, 8, 87_568_756, 0]
URLS = ["https://h/a.png", "https://h/stühl.png", "https://H/a.png", "https://h/a.png?v=1", "https://h/b.png"]


FAR_APART = ["https://h/a.png", "https://h/stühl.png", "https://h/b.png?v=1", "https://h/c.png"]
"""No two of these become the same by tidying."""


def reported_time(moment, coarse, numeric):
    if coarse >= 60.0:
        moment = math.floor(moment / coarse) * coarse
    elif coarse == 1.0:
        moment = math.floor(moment)
    return moment if numeric else datetime.fromtimestamp(moment, UTC).isoformat()


# -- worlds -----------------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw, *, benign=False):  # noqa: C901  one choice after the other
    """A world of any kind; a benign one tells the truth as it is, and has nothing that could be taken for ours."""
    pick = lambda *choices: draw(st.sampled_from(choices))  # noqa: E731
    between = lambda low, high: draw(st.floats(low, high))  # noqa: E731
    spread = 2.0 if benign else pick(0.0, 20.0, 180.0)
    nodes = [between(-spread, spread) for _ in range(draw(st.integers(1, 3)))]
    if not benign and draw(st.booleans()):
        nodes.append(pick(-600.0, 600.0, 300.0))  # one of them is far off
    grave = "as it is" if benign else pick(*GRAVE)
    coarse = pick(0.0, 1.0) if benign else pick(0.0, 1.0, 60.0, 3600.0, 86_400.0)
    numeric = draw(st.booleans())
    ours = pick(0.0, 40.0, -3000.0)
    prompts, seeds, urls = (PLAIN, [7, 8, 9], FAR_APART) if benign else (PROMPTS, SEEDS, URLS)
    requests = []

    def body():
        return {
            "prompt": pick(*prompts), "seed": pick(*seeds), "image_1": pick(*urls), "image_2": "https://h/oak.png",
            "quality": 95, "base64": False,
        }  # fmt: skip

    def told(name, whose, sent, at, late=0.0):
        shown = dict(sent)
        if not benign:
            shown["prompt"] = SLIGHT[pick(*SLIGHT)](
                GRAVE[grave](sent["prompt"])
            )  # else a row is tidied unlike others of its form
            shown["image_1"] = PICTURES[pick(*PICTURES)](sent["image_1"])
            shown["seed"] = pick(sent["seed"], str(sent["seed"]), float(sent["seed"]))
        precise = coarse if draw(st.integers(0, 3)) else 0.0  # some rows are told in full
        request = Request(
            name, whose, sent, at, shown, reported_time(at + pick(*nodes), precise, numeric),
            between(0.0, SETTLE_S - 1.0 - late), pick(1, 1, 3), pick(0.03, 0, None, "n/a"),
        )  # fmt: skip
        requests.append(request)
        return request

    used = []

    def body_of_its_own():
        for _ in range(20):
            sent = body()
            if sent not in used:
                used.append(sent)
                return sent
        sent = body() | {"quality": 50 + len(used)}
        used.append(sent)
        return sent

    lost, arrived, own = [], {}, []
    skew_then = None
    for job in range(draw(st.integers(1, 3))):
        reserved = T + between(0.0, 300.0)
        took = between(0.1, 60.0)
        sent = body_of_its_own()
        lost.append(UnconfirmedSubmit(job, sent, reserved + ours, reserved + took + ours))
        if draw(st.booleans()):
            late = 0.0 if benign else pick(0.0, 0.0, 60.0)
            arrived[job] = told(
                f"lost-{job}", f"lost {job}", sent, reserved + took * between(0.0, 1.0) + late, late
            )
    for number in range(draw(st.integers(1 if benign else 0, 4))):
        reserved = T + between(-500.0, 300.0)
        took = between(0.1, 30.0)
        sent = body_of_its_own()
        own.append(OwnRequest(f"own-{number}", reserved + took + ours, sent, reserved + ours))
        told(f"own-{number}", "own", sent, reserved + took * between(0.0, 1.0))
    if benign:  # others differ in prompt or seed from what was lost
        others = [body() | {"seed": 100 + number} for number in range(draw(st.integers(0, 8)))]
        for number, sent in enumerate(others):
            told(f"other-{number}", "others", sent, T + between(-3 * 3600.0, 400.0))
    else:
        for number in range(draw(st.integers(0, 6))):
            same = draw(st.booleans())
            sent = dict(pick(*lost).body) if same else body()
            age = pick(-4 * 3600.0, -5000.0, -1800.0, -60.0, 0.0, 200.0)
            told(f"other-{number}", "others", sent, T + age)
    last = max(
        sent.ended_at if isinstance(sent, UnconfirmedSubmit) else sent.accepted_at for sent in [*lost, *own]
    )
    now = last + (SETTLE_S if benign else pick(SETTLE_S, SETTLE_S + 900.0, 10.0))
    dates = [pick(*nodes) for _ in range(12)]
    if not benign:
        if draw(st.booleans()):
            dates[draw(st.integers(0, 11))] = pick(20.0, -20.0, 3000.0, -3000.0, 86_400.0, -86_400.0)
        if pick(*range(6)) == 0:
            dates = [None] * 12
        skew_then = None if draw(st.booleans()) else ours - pick(*nodes, 20.0)
    odd = {}
    if draw(st.booleans()):
        odd[draw(st.integers(2, 6))] = pick("404", "empty", "first again", "cut")
    return World(
        lost, arrived, own, requests, now, ours, skew_then, dates, cap=pick(6, 4, 3),
        skips=draw(st.booleans()), total=pick("none", "total", "total_pages", "has_next", "of the page"), odd=odd,
    )  # fmt: skip


class Teller:
    """The service's history as a client of ours asks it, with a clock that only waiting moves."""

    service = Service("http://h", "http://h", "http://h", api_key="k")
    timeouts = Timeouts(history_tries=1)

    def __init__(self, world):
        self.world = world
        self.now = world.now
        self.clocks = ClockSkew()
        self.pace = self
        self.asked = 0

    def clock(self):
        return self.now

    def acquire(self, _):
        return contextlib.nullcontext()

    async def sleep(self, seconds):
        self.now += seconds

    def rows(self):
        """Return what is listed now, newest first as the service sees it."""
        listed = [
            request
            for request in self.world.requests
            if request.at + request.lag <= self.now - self.world.ours
        ]
        listed.sort(key=lambda request: read_entry(self.row(request)).created, reverse=True)
        return [self.row(request) for request in listed for _ in range(request.copies)]

    @staticmethod
    def row(request):
        return {
            "request_id": request.name, "model_name": MODEL, "model_status": "COMPLETED", "request_body": request.shown,
            "model_created": request.told_at, "credits_deduction": request.cost, "generation_url": "https://h/out",
        }  # fmt: skip

    async def read(self, _url, *, params, limit):  # noqa: ARG002
        self.asked += 1
        world, size, page = self.world, int(params["per_page"]), int(params["page"])
        rows, given = self.rows(), min(int(params["per_page"]), world.cap)
        start = (page - 1) * (size if world.skips else given)
        found = rows[start : start + given]
        odd = world.odd.get(self.asked)
        date = world.dates[self.asked % len(world.dates)]
        headers = {}
        if date is not None:
            skew = self.now - world.ours + date
            headers = {"date": email.utils.formatdate(skew, usegmt=True)}
            self.clocks.note(headers["date"], self.now)
        body = {"data": found}
        if odd == "404" and page > 1:
            return Reply(404, headers, {"error": "no page"}, "")
        if odd == "empty":
            body = {"data": []}
        elif odd == "first again":
            body = {"data": rows[:given]}
        elif odd == "cut":
            body = {"data": found[:1]}
        step = size if world.skips else given
        body |= {
            "none": {},
            "total": {"total": len(rows)},
            "total_pages": {"total_pages": -(-len(rows) // step)},
            "has_next": {"has_next": page * step < len(rows)},
            "of the page": {"total": len(body["data"])},
        }[world.total]
        return Reply(200, headers, body, "")


async def settle(world):
    """Read and reconcile as a run does (see settle.py)."""
    client = Teller(world)
    overdue = [submit.job for submit in world.lost if client.now >= submit.ended_at + SETTLE_S]
    if client.clocks.skew is None:
        await history.greet(client)
    shift = 0.0
    if world.skew_then is not None and client.clocks.skew is not None:
        shift = client.clocks.skew - world.skew_then
    since = min(submit.reserved_at for submit in world.lost) + min(shift, 0.0)
    until = max(submit.ended_at for submit in world.lost) + max(shift, 0.0)
    ids = {own.request_id for own in world.own}
    try:
        listing = await history.read_back(client, since - client.timeouts.look_back_s, until, ids)
    except NoResponse:  # out of reach for a moment: nothing is settled, the next run looks again
        listing = await history.read_back(client, since - client.timeouts.look_back_s, until, ids)
    shift = 0.0
    if world.skew_then is not None and listing.skew is not None:
        shift = listing.skew - world.skew_then
    lost = [UnconfirmedSubmit(s.job, s.body, s.reserved_at, s.ended_at, shift) for s in world.lost]
    own = [OwnRequest(o.request_id, o.accepted_at, o.body, o.reserved_at, shift) for o in world.own]
    return reconcile(lost, own, listing, overdue, client.timeouts), listing


def settled(world):
    """Return what is found about a world, by job; no time passes but in the world."""
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(history, "PER_PAGE", PAGE)
        patched.setattr(history.anyio, "sleep", _no_time)
        findings, listing = anyio.run(partial(settle, world))
    assert sorted(finding.job for finding in findings) == [submit.job for submit in world.lost]
    return {finding.job: finding for finding in findings}, listing


async def _no_time(_seconds):
    """Let no time pass."""


def alike(one, other):
    """Tell whether two bodies have the same letters in their prompt, and the same seed."""
    letters = [
        [character for character in body["prompt"].lower() if character.isalnum()] for body in (one, other)
    ]
    return letters[0] == letters[1] and float(one["seed"]) == float(other["seed"])


def same_work(one, other):
    """Return whether two bodies are one work: a host is the same in any case, so its image is the same."""

    def plain(body):
        return {
            name: re.sub("^https?://[^/]+", lambda host: host[0].lower(), value)
            if isinstance(value, str)
            else value
            for name, value in body.items()
        }

    return plain(one) == plain(other)


def nothing_is_paid_twice(world):
    findings, _ = settled(world)
    by_name = {request.name: request for request in world.requests}
    claimed = [finding.entry.request_id for finding in findings.values() if isinstance(finding, Found)]
    assert len(claimed) == len(set(claimed))
    for job, finding in findings.items():
        if isinstance(finding, Absent):
            assert job not in world.arrived, "a request that arrived would be sent, and paid, again"
        if isinstance(finding, Found):
            request = by_name[finding.entry.request_id]
            if request.whose == "others":  # the very same as far as the history shows: the same picture
                assert alike(request.shown, world.lost[job].body), "another prompt's picture would be saved"
            else:
                assert request.whose == f"lost {job}" or (
                    request.whose.startswith("lost") and same_work(request.body, world.lost[job].body)
                ), "another job's picture would be saved"


def everything_is_settled(world):
    findings, listing = settled(world)
    assume(listing.complete)  # a list whose pages cannot be joined settles nothing, and is rare here
    for job, finding in findings.items():
        if job in world.arrived:
            assert isinstance(finding, Found), finding
            assert finding.entry.request_id == world.arrived[job].name
        else:
            assert isinstance(finding, Absent), finding


@QUICK
@given(worlds())
def test_in_any_world_nothing_is_paid_twice_and_no_row_gets_anothers_picture(world):
    nothing_is_paid_twice(world)


@QUICK
@given(worlds(benign=True))
def test_in_a_benign_world_every_lost_submit_is_settled_as_it_was(world):
    everything_is_settled(world)


@pytest.mark.proof
@LONG
@given(worlds())
def test_in_very_many_worlds_nothing_is_paid_twice(world):
    nothing_is_paid_twice(world)


@pytest.mark.proof
@LONG
@given(worlds(benign=True))
def test_in_very_many_benign_worlds_every_lost_submit_is_settled(world):
    everything_is_settled(world)
