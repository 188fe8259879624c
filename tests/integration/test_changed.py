"""Work that changed after it was paid for: told with its price, paid again only when a person says so."""

import contextlib
import json
import os
import subprocess

import pytest
import support
from support import by_id, go, rows, statuses, submits, summary

from batch.core.config import Reading
from batch.execution.runner import run

NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


@pytest.fixture
def every_kind(hosted, pairs, out, waits):
    """A folder with two rows of each kind; gives its manifest: done, changed, unknown, in flight, failed, new."""
    waits(history_tries=1)
    lines = rows(10)
    hosted.settings(blocked_words=["oak 8", "oak 9"])
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": name} for name in ("oak 4", "oak 5")]
                  + [NO_HISTORY])  # fmt: skip
    done = ("row-0", "row-1", "row-2", "row-3", "row-4", "row-5", "row-8", "row-9")
    assert go(hosted, pairs(lines), out, only=done, settle_s=0.1).exit_code == 4
    hosted.settings(latency_s=20.0)
    go(hosted, pairs(lines), out, only=("row-6", "row-7"), job_timeout_s=0.2)
    for line in lines[2:4]:
        line["prompt"] = "walnut"
    return pairs([*lines, *rows(2, first=10)])


def _files(out):
    """Return the folder's files, but for those that SQLite needs beside its own to read it."""
    return [name for name in support.files_in(out) if not name.startswith("ledger.sqlite-")]


def test_the_plan_names_every_kind_with_its_price(hosted, command, every_kind, out):
    before = hosted.stats(jobs=False)["calls"], _files(out), (out / "report.csv").read_bytes()
    code, told, warned = command("plan", every_kind, "--out", out)
    assert code == 0
    lines = [" ".join(line.split()) for line in told.splitlines()]
    for expected in ("new 2 $ 0.06 to pay", "changed 2 $ 0.06 to pay again", "done 2 $ 0.06 paid, not sent again",
                     "in flight 2 $ 0.06 paid, to be fetched", "unknown 2 $ 0.06 perhaps paid, not sent again",
                     "failed before 2 $ 0.06 not sent again without --retry-failed"):  # fmt: skip
        assert expected in lines
    assert "4 jobs to send, for about $0.12" in told
    assert ("changed: row-2 (row 4)" in warned, "changed: row-3 (row 5)" in warned) == (True, True)
    again = command("plan", every_kind, "--out", out, "--retry-failed")[1]
    assert "6 jobs to send, for about $0.18" in again
    assert "not sent again" not in next(line for line in again.splitlines() if "failed before" in line)
    assert before == (
        hosted.stats(jobs=False)["calls"],
        _files(out),
        (out / "report.csv").read_bytes(),
    )
    assert command("run", every_kind, "--out", out, "--dry-run")[1] == told


@pytest.mark.slow
def test_rows_that_share_a_job_have_its_price_once(hosted, command, pairs, out):
    def alike(prompt):
        return pairs([line | {"prompt": prompt, "seed": 7} for line in rows(3)])

    told = command("plan", alike("oak"), "--out", out, "--price", "0.03")[1]
    assert "new 3 $ 0.03 to pay" in [" ".join(line.split()) for line in told.splitlines()]
    assert command("run", alike("oak"), "--out", out)[0] == 0
    assert summary(out)["spent_usd"] == 0.03
    told = command("plan", alike("oak"), "--out", out)[1]
    assert "done 3 $ 0.03 paid, not sent again" in [" ".join(line.split()) for line in told.splitlines()]
    told = command("plan", alike("walnut"), "--out", out)[1]
    assert "changed 3 $ 0.03 to pay again" in [" ".join(line.split()) for line in told.splitlines()]
    assert "1 job to send, for about $0.03" in told
    code, _, warned = command("run", alike("walnut"), "--out", out)
    assert code == 2
    assert "about $0.03. Add --yes to do it" in warned
    assert submits(hosted) == 1
    warned = command("run", pairs([rows(3)[0] | {"prompt": "cherry", "seed": 7}]), "--out", out)[2]
    assert "1 row was paid for before and has changed since: row-0 (row 2). Sending it costs" in warned


def test_without_a_terminal_or_yes_nothing_is_sent_and_nothing_changed(hosted, command, every_kind, out):
    before = submits(hosted), (out / "report.csv").read_bytes(), (out / "ledger.sqlite").read_bytes()
    code, _, warned = command("run", every_kind, "--out", out)
    assert code == 2
    assert "2 rows were paid for before and have changed since: row-2 (row 4), row-3 (row 5)" in warned
    assert "about $0.06. Add --yes to do it" in warned
    assert before[:2] == (submits(hosted), (out / "report.csv").read_bytes())
    assert by_id(out)["row-2"]["status"] == "saved"


def test_yes_pays_again_and_keeps_the_old_pictures(hosted, command, pairs, out):
    lines = rows(3)
    go(hosted, pairs(lines), out)
    old = {name: (out / "images" / name).read_bytes() for name in support.files_in(out / "images")}
    for turn, colour in enumerate(("walnut", "cherry"), 1):
        for line in lines[:2]:
            line["prompt"] = f"{colour} {line['id']}"
        assert command("run", pairs(lines), "--out", out, "--yes")[0] == 0
        assert submits(hosted) == 3 + 2 * turn
    kept = [path.read_bytes() for path in (out / "images" / ".previous").iterdir()]
    assert len(kept) == 4
    assert old["row-0.webp"] in kept
    assert old["row-1.webp"] in kept
    assert (out / "images" / "row-2.webp").read_bytes() == old["row-2.webp"]
    assert summary(out)["spent_usd"] == 0.21
    support.assert_pictures_belong(out, hosted.stats())


def test_a_row_that_changed_while_its_job_was_in_flight_loses_neither_picture(api, pairs, out):
    """The first job is paid: it is fetched and set aside, while the row gets what it asks for now."""
    api.settings(latency_s=0.5)
    lines = rows(1)
    go(api, pairs(lines), out, job_timeout_s=0.2)
    lines[0]["prompt"] = "walnut"
    api.settings(latency_s=0.0)
    assert go(api, pairs(lines), out, yes=True).exit_code == 0
    assert by_id(out)["row-0"]["prompt"] == "walnut"
    assert len(list((out / "images" / ".previous").iterdir())) == 1
    assert summary(out)["spent_usd"] == 0.06
    support.assert_pictures_belong(out, api.stats())


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("answer", "code", "sent"),
    [
        pytest.param("y\n", 0, 3, id="yes"),
        pytest.param("\x03", 130, 2, id="Ctrl-C"),
        pytest.param("n\n", 2, 2, id="no", marks=pytest.mark.slow),
        pytest.param("\n", 2, 2, id="return", marks=pytest.mark.slow),
    ],
)
def test_a_person_at_a_terminal_is_asked(api, pairs, tmp_path, out, answer, code, sent):
    lines = rows(2)
    go(api, pairs(lines), out)
    lines[1]["prompt"] = "walnut"
    pairs(lines)
    args = ("run", "pairs.csv", "--out", "out", "--progress", "none")
    with support.on_a_terminal(*args, env=support.environment(api), cwd=tmp_path) as (process, terminal):
        told = support.seen_on(terminal, lambda text: "[y/N]" in text)
        assert "1 row changed since they were paid for. Pay for them again, about $0.03?" in told.replace(
            "\r\n", "\n"
        )
        while process.poll() is None:  # a Ctrl-C just before the answer is read for is not heard: once more
            os.write(terminal, answer.encode())
            told += support.seen_on(terminal, patience_s=1.0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    assert process.returncode == code, told
    assert submits(api) == sent
    assert ("Nothing was sent." in told) == (code == 2)
    assert "Traceback" not in told


# -- links that are signed anew ---------------------------------------------------------------------------------------


def signed(lines, night):
    return [
        line
        | {
            "image_1": f"{support.PRODUCT}?sig={night}&id={line['id']}",
            "image_2": f"{support.TEXTURE}?sig={night}",
        }
        for line in lines
    ]


def sign_and_go(api, manifest, out, **settings):
    reading = Reading(ignore_url_query=True)
    return run(manifest, support.RunSettings(out, reading, **settings), support.service_of(api))


def test_a_link_that_is_signed_anew_is_the_same_work(api, pairs, out):
    assert sign_and_go(api, pairs(signed(rows(3), "monday")), out).exit_code == 0
    assert sign_and_go(api, pairs(signed(rows(3), "tuesday")), out).exit_code == 0
    assert submits(api) == 3


@pytest.mark.slow
def test_without_the_option_it_is_perhaps_the_same_image_and_left_out(hosted, command, pairs, out):
    go(hosted, pairs(signed(rows(2), "monday")), out)
    code, _, told = command("run", pairs(signed(rows(2), "tuesday")), "--out", out)
    assert (code, submits(hosted)) == (1, 2)
    assert (
        "left out, would be paid again: row-0 (its image was paid for under another URL query), row-1" in told
    )
    assert "about $0.06; add --yes on the command line" in told
    assert "--ignore-url-query" in told


@pytest.mark.quick(1)
@pytest.mark.parametrize("first", ["not selected", "failed"])
def test_what_is_sent_is_the_newest_link(api, pairs, out, first):
    """Yesterday's link no longer opens: a row that was not sent then, or failed, is sent with today's."""
    if first == "failed":
        api.settings(blocked_words=["oak 1"])
        assert sign_and_go(api, pairs(signed(rows(2), "monday")), out).exit_code == 1
        api.settings(blocked_words=[])
    else:
        assert sign_and_go(api, pairs(signed(rows(2), "monday")), out, only=("row-0",)).exit_code == 0
    assert sign_and_go(api, pairs(signed(rows(2), "tuesday")), out, retry_failed=True).exit_code == 0
    last = api.stats()["jobs"][-1]["body"]
    assert (last["prompt"], "sig=tuesday" in last["image_1"], "sig=tuesday" in last["image_2"]) == (
        "oak 1", True, True,
    )  # fmt: skip
    assert "sig=tuesday" in by_id(out)["row-1"]["image_1"]
    assert "sig=monday" in by_id(out)["row-0"]["image_1"]


@pytest.mark.slow
def test_another_path_is_other_work_whatever_its_query(api, pairs, out):
    lines = signed(rows(2), "monday")
    sign_and_go(api, pairs(lines), out)
    lines[1]["image_1"] = lines[1]["image_1"].replace("chair", "table")
    assert sign_and_go(api, pairs(lines), out, yes=True).exit_code == 0
    assert submits(api) == 3


def test_the_option_is_known_to_the_command_line(hosted, command, pairs, out):
    for night in ("monday", "tuesday"):
        assert command("run", pairs(signed(rows(2), night)), "--out", out, "--ignore-url-query")[0] == 0
    assert submits(hosted) == 2
    told = command("status", out, "--json")[1]
    assert json.loads(told)["spent_usd"] == 0.06
    assert statuses(out) == {"saved": 2}
