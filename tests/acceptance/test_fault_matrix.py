"""Every fault at every call, once and for as long as the run lasts: one row is hit, and the table says how it ends.

The table is the error table of the wire contract, read for a run: what becomes of the row that is hit, the exit code,
and whether its POST was accepted. The other rows are always saved. The server's own record shows that no body was ever
accepted twice; and when the trouble is over, the same command always ends with every row saved, each paid once.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass

import pytest
import support
from support import by_id, go, rows, statuses, write_csv

from batch.core.config import Backoff
from batch.server import LocalApi

FAULTS = {
    "reset before": {"action": "reset_before"},
    "reset after": {"action": "reset_after"},
    "no answer": {"action": "no_answer"},
    "401": {"action": "status", "text": "wrong_key"},
    "404": {"action": "status", "text": "not_found"},
    "406 content type": {"action": "status", "text": "content_type"},
    "406 credits": {"action": "status", "text": "insufficient_credits"},
    "406 parameter": {"action": "status", "text": "parameter"},
    "406 spend limit": {"action": "status", "text": "spend_limit"},
    "429 until a time": {"action": "status", "text": "rate_limit", "reset_in_s": 0.2},
    "429 without a time": {"action": "status", "text": "rate_limit", "reset_header": "none"},
    "429 by a skewed clock": {"action": "status", "text": "rate_limit", "reset_in_s": 0.2, "skew_s": 7200},
    "500 of the vendor": {"action": "status", "text": "internal"},
    "502 HTML": {"action": "status", "text": "bad_gateway"},
    "502 HTML, behind it the job": {"action": "status", "text": "bad_gateway", "handled": True},
    "503": {"action": "status", "text": "unavailable"},
    "garbage": {"action": "garbage"},
    "truncated": {"action": "truncated"},
    "endless": {"action": "endless", "pace_s": 0.02},
    "30 MB JSON": {"action": "huge"},
}

ENDLESS = {"no answer": {"read_s": 0.5}, "endless": {"answer_s": 1.2, "download_s": 0.5}}
"""How long an answer is waited for that never ends; any other is, on a busy machine, only late."""


@dataclass(frozen=True)
class End:
    """How the row that is hit may end, with which exit code, and how many of its POSTs were accepted."""

    statuses: tuple[str, ...]
    codes: tuple[int, ...]
    accepted: int = 1


SAVED = End(("saved",), (0,))
SAVED_THEN_STOPPED = End(("saved",), (3,))
STILL_PAID = End(("pending",), (7,))  # accepted, its request id on disk: the next run fetches it
NOT_THERE = End(("pending",), (1,))  # the same, and who has to know says that it has no picture
DENIED = End(("pending",), (3,))  # the same, and the key is refused
UNKNOWN = End(("unknown",), (4,))
STOPPED = End(("pending",), (3,), 0)
UNSENT = End(("pending",), (7,), 0)
REFUSED = End(("failed",), (1,), 0)
IN_A_CIRCLE = End(
    ("unknown", "pending", "failed"), (4, 7, 1), 0
)  # lost, absent, sent, lost … until the time is up or it was sent often enough

# call: {fault: (end after one fault, end when it stays, the reason)}; "*" is every fault that is not named.
RULES: dict[str, dict[str, tuple[End, End, str]]] = {
    "submit": {
        "*": (SAVED, SAVED, "nobody knows: the history lists it, and it is fetched; the first POST is the only one"),
        "reset before": (SAVED, IN_A_CIRCLE, "nobody knows: the history proves it absent, and it is sent again"),
        "502 HTML": (SAVED, IN_A_CIRCLE, "a gateway cannot know: the history proves it absent"),
        "503": (SAVED, IN_A_CIRCLE, "a gateway cannot know: the history proves it absent"),
        "401": (STOPPED, STOPPED, "the key: no other submit would be taken"),
        "404": (STOPPED, STOPPED, "no such model"),
        "406 content type": (STOPPED, STOPPED, "a fault of ours"),
        "406 credits": (STOPPED, STOPPED, "the rest stays planned"),
        "406 spend limit": (STOPPED, STOPPED, "the rest stays planned"),
        "406 parameter": (REFUSED, REFUSED, "this row alone"),
        "429 until a time": (SAVED, UNSENT, "all wait together, for as long as the run may last"),
        "429 without a time": (SAVED, UNSENT, "the same"),
        "429 by a skewed clock": (SAVED, UNSENT, "the same: the clock of the answer counts"),
        "500 of the vendor": (SAVED, REFUSED, "not billed: sent again, --retries times, then failed"),
    },
    "status": {
        "*": (SAVED, STILL_PAID, "says nothing about the job: asked again until --job-timeout"),
        "401": (SAVED_THEN_STOPPED, DENIED, "nothing more is submitted, this job is still asked for"),
        "404": (SAVED, SAVED, "the history knows the job by its id, and its output"),
    },
    "result": {
        "*": (SAVED, STILL_PAID, "says nothing about the job: asked again until --job-timeout"),
        "401": (SAVED_THEN_STOPPED, DENIED, "nothing more is submitted, this job is still asked for"),
        "404": (SAVED, SAVED, "the history knows the job by its id, and its output"),
        "30 MB JSON": (SAVED, SAVED, "within what a picture inside a result may take"),
    },
    "image": {
        "*": (SAVED, STILL_PAID, "fetched again for as long as the service may have it: an hour"),
        **dict.fromkeys(("401", "404", "406 content type", "406 credits", "406 parameter", "406 spend limit", "garbage", "30 MB JSON"), (SAVED, NOT_THERE, "host and history answer, and have no picture so far: a person should look")),
    },
    "upload": {
        "*": (SAVED, STOPPED, "free: sent again, and when no other picture is answered either, the run stops"),
        "401": (STOPPED, STOPPED, "the key"),
        "404": (STOPPED, STOPPED, "the wrong host: no other picture would be taken"),
        "406 content type": (REFUSED, REFUSED, "refused"),
        "406 credits": (STOPPED, STOPPED, "the account is out of money: no other picture would be taken"),
        "406 parameter": (REFUSED, REFUSED, "refused"),
        "406 spend limit": (REFUSED, REFUSED, "refused"),
        "429 until a time": (SAVED, UNSENT, "all wait together, for as long as the run may last"),
        "429 without a time": (SAVED, UNSENT, "the same"),
        "429 by a skewed clock": (SAVED, UNSENT, "the same"),
    },
    "credits": {
        "*": (SAVED, SAVED, "a balance that cannot be read is a warning"),
    },
    "history": {  # the answer to the submit is lost as well, else nobody would ask
        "*": (SAVED, UNKNOWN, "not reachable, whatever it says: asked again a few times, then a person decides"),
    },
}  # fmt: skip

PROMPTED = ("submit", "status", "result", "image")
LOST = {"call": "submit", "action": "reset_after", "prompt": "hit", "first": 1}


def cases():
    """Every case: one in twelve runs each time, each call and each fault among them, one in four in the slow tier, all as a proof."""
    for (place, call), (number, fault) in itertools.product(enumerate(RULES), enumerate(FAULTS)):
        if fault == "502 HTML, behind it the job" and call not in ("submit", "upload"):
            continue  # for a GET it is the same as 502
        once, staying, _ = RULES[call].get(fault, RULES[call]["*"])
        for stays, end in enumerate((once, staying)):
            which = (number + 5 * place + stays) % 12
            marks = () if which == 0 else pytest.mark.slow if which % 3 == 0 else pytest.mark.proof
            yield pytest.param(
                call, fault, bool(stays), end,
                id=f"{call}, {fault}, {'staying' if stays else 'once'}",
                marks=marks,
            )  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with LocalApi(**support.QUICK) as api:
        yield api


@pytest.fixture(autouse=True)
def hasty(waits):
    """Let every wait be a fraction of itself: what is tested is what becomes of the rows, not when.

    A request has its time: only an answer that never ends is given up, see `ENDLESS`.
    """
    waits(
        not_accepted=Backoff(0.02, 20.0),
        no_answer=Backoff(0.1, 30.0, least=0.5),
        probe_s=0.2,
        reset_margin_s=0.05,
        retry=Backoff(0.08, 0.2, least=0.5),
        history_tries=2,
        upload_tries=2,
        unreachable_tries=1,
        settle_again_s=0.1,
        image_s=0.5,
    )


@pytest.fixture
def case(server, tmp_path, request):
    """Three rows of this test's own, the last of them to be hit; its product is a file where an upload is tested."""
    first = zlib.crc32(request.node.name.encode()) % 2_000_000_000
    lines = rows(3, first=first)
    for line, part in zip(lines, ("one", "two", "hit"), strict=True):
        line |= {"id": part, "prompt": f"{part} {first}"}
    if "[upload" in request.node.nodeid:
        support.picture(tmp_path / "chair.png", f"#{first % 2**24:06x}")
        lines[2]["image_1"] = "chair.png"
    yield Case(
        server, write_csv(tmp_path / "pairs.csv", lines), tmp_path / "out", [line["prompt"] for line in lines]
    )
    server.faults([])


@dataclass(frozen=True)
class Case:
    """One manifest at the server."""

    server: LocalApi
    manifest: object
    out: object
    prompts: list[str]

    def accepted(self):
        """Return how many POSTs of each row were accepted, by the server's own record."""
        counted = self.server.stats(jobs=False)["accepted_by_prompt"]
        return [counted.get(prompt, 0) for prompt in self.prompts]

    def run(self, **settings):
        patience = {
            "job_timeout_s": 1.0,
            "max_duration_s": None,
            "settle_s": 0.15,
            "retries": 1,
            "grace_s": 0.3,
        }
        return go(self.server, self.manifest, self.out, price=30_000, **(patience | settings))


@pytest.mark.parametrize(("call", "fault", "stays", "expected"), list(cases()))
def test_a_fault_ends_as_the_table_says_and_concerns_no_other_row(case, call, fault, stays, expected, waits):
    waits(**ENDLESS.get(fault, {}))
    hit = {"call": call, **FAULTS[fault]}
    if call in PROMPTED:
        hit["prompt"] = "hit"
    if not stays:
        hit["first"] = 1
    patience = {} if stays else {"job_timeout_s": 10.0}
    if expected in (IN_A_CIRCLE, UNSENT):
        patience = {"max_duration_s": 0.8}
    elif fault.startswith("429") and stays:  # the other rows wait at the same gate
        patience = {"job_timeout_s": 4.0}
    case.server.faults([hit, LOST] if call == "history" else [hit])

    end = case.run(**patience)
    found = by_id(case.out)
    assert found["hit"]["status"] in expected.statuses, found["hit"]
    assert end.exit_code in expected.codes, end
    assert [found[name]["status"] for name in ("one", "two")] == ["saved", "saved"]
    assert case.accepted() == [1, 1, expected.accepted]
    assert bool(found["hit"]["request_id"]) == (
        found["hit"]["status"] != "unknown" and expected.accepted == 1
    )
    support.assert_ledger_sound(case.out)

    case.server.faults([])
    if found["hit"]["status"] != "saved":
        assert case.run(retry_failed=True, job_timeout_s=30.0).exit_code == 0
    stats = case.server.stats()
    assert statuses(case.out) == {"saved": 3}
    assert case.accepted() == [1, 1, 1]
    assert support.accepted_twice(stats) == []
    support.assert_pictures_belong(case.out, stats)


# -- when the record's hour is over -----------------------------------------------------------------------------------


@pytest.fixture
def short_hour(waits):
    """Let a record live half a second."""
    waits(record_s=0.5)


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", ["404", "garbage"])
def test_a_picture_that_is_denied_fails_its_row_with_its_cost_when_the_hour_is_over(case, short_hour, fault):
    case.server.faults([{"call": "image", "prompt": "hit", **FAULTS[fault]}])
    assert case.run(job_timeout_s=10.0).exit_code == 1
    row = by_id(case.out)["hit"]
    assert (row["status"], row["error_class"], row["cost"]) == ("failed", "unusable_picture", "0.030000")
    assert statuses(case.out) == {"saved": 2, "failed": 1}
    assert case.accepted() == [1, 1, 1]


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", ["502 HTML", "truncated"])
def test_a_picture_that_nobody_denies_stays_paid_when_the_hour_is_over(case, short_hour, fault):
    case.server.faults([{"call": "image", "prompt": "hit", **FAULTS[fault]}])
    assert case.run(job_timeout_s=10.0).exit_code == 7
    assert statuses(case.out) == {"saved": 2, "pending": 1}
    case.server.faults([])
    assert case.run().exit_code == 0
    assert case.accepted() == [1, 1, 1]


def test_a_job_that_neither_status_nor_history_knows_is_expired_with_its_cost_when_the_hour_is_over(
    case, short_hour
):
    case.server.faults(
        [
            {"call": "status", "prompt": "hit", **FAULTS["404"]},
            {"call": "history", **FAULTS["404"]},
        ]
    )
    end = case.run(job_timeout_s=10.0)
    row = by_id(case.out)["hit"]
    assert (end.exit_code, row["status"], row["cost"]) == (1, "expired", "0.030000")
    assert end.summary["spent_usd"] == pytest.approx(0.09)
    assert case.accepted() == [1, 1, 1]


@pytest.mark.slow
def test_a_job_that_the_history_cannot_be_asked_about_is_not_expired_within_its_hour(case):
    case.server.faults(
        [{"call": "status", "prompt": "hit", **FAULTS["404"]}, {"call": "history", **FAULTS["503"]}]
    )
    assert case.run().exit_code == 7
    case.server.faults([])
    assert case.run().exit_code == 0
    assert case.accepted() == [1, 1, 1]
