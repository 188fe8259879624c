"""The price first: what a folder's first jobs cost is told and asked for before any of them is sent, and told once."""

import json

import pytest
import support
from support import rows, submits, summary, write_csv

from batch.cli import console

QUESTION = "Send 3 jobs at $0.03 each (the list price of November 2026), $0.09 in all?"
LISTED = "$0.03 each (the list price of November 2026)"
LINE = f"3 rows, 3 jobs to send, {LISTED}, at most $0.09 in all at that price (no --max-cost). Takes "


@pytest.fixture
def answers(monkeypatch):
    """Let a person sit at a terminal who gives these answers; the questions are in `answers.asked`."""

    class Person(list):
        def confirm(self, text, **_):
            self.asked.append(text)
            return self.pop(0)

    person = Person()
    person.asked = []
    monkeypatch.setattr(console, "has_terminal", lambda: True)
    monkeypatch.setattr(console.click, "confirm", person.confirm)
    return person


def test_a_terminal_is_asked_once_a_folder_and_after_a_no_it_is_asked_again(
    hosted, command, pairs, out, answers
):
    answers += [False, True]
    code, told, why = command("run", pairs(3), "--out", out)
    assert (code, told, submits(hosted)) == (2, "", 0)
    assert LINE in why
    assert "Nothing was sent." in why
    assert command("run", pairs(3), "--out", out, "-q")[0] == 0
    assert command("run", pairs(4), "--out", out)[0] == 0
    assert (answers.asked, submits(hosted)) == ([QUESTION, QUESTION], 4)


def test_without_a_terminal_the_log_has_the_price_and_what_a_run_without_a_cap_may_cost(
    hosted, command, pairs, out
):
    _, told, why = command("run", pairs(3), "--out", out)
    assert LINE in why
    assert told == f"3 saved, 0 failed; $0.09 this run, $0.09 in all; {out / 'report.csv'}\n"
    _, told, why = command("run", pairs(3), "--out", out)
    assert why == ""
    assert (
        told
        == f"Nothing to do: 3 of 3 saved already, $0.00 this run ($0.09 in all). Open {out / 'report.html'}\n"
    )
    assert (
        "1 job to send, $0.03 each (as paid last), at most $0.03 in all at that price (no --max-cost).\n"
        in command("run", pairs(4), "--out", out)[2]
    )
    assert command("run", pairs(5), "--out", out, "--max-cost", "1")[2] == ""


def test_a_pilot_is_asked_for_as_what_it_sends_and_the_rest_is_asked_for_once_more(
    hosted, command, pairs, out, answers
):
    answers += [True, False, True]
    code, _, why = command("run", pairs(3), "--out", out, "--pilot", "1")
    assert (code, submits(hosted)) == (7, 1)
    assert f"3 rows, 1 of 3 jobs (--pilot 1) to send, {LISTED}, at most $0.03 in all at that price" in why
    assert (
        "2 rows not sent yet: the pilot ended. To send the rest: run the same command again, without --pilot."
        in why
    )
    assert (command("run", pairs(3), "--out", out)[0], submits(hosted)) == (2, 1)
    assert (command("run", pairs(3), "--out", out)[0], submits(hosted)) == (0, 3)
    assert command("run", pairs(4), "--out", out)[0] == 0
    rest = "Send 2 jobs at $0.03 each (as paid last), $0.06 in all?"
    assert answers.asked == [f"Send 1 of 3 jobs (--pilot 1) at {LISTED}, $0.03 in all?", rest, rest]


@pytest.mark.slow
def test_neither_a_further_pilot_nor_a_retry_agrees_to_the_rest(hosted, command, pairs, out, answers):
    answers += [True, False]
    assert command("run", pairs(6), "--out", out, "--pilot", "1")[0] == 7
    assert command("run", pairs(6), "--out", out, "--pilot", "2")[0] == 7
    assert command("run", pairs(6), "--out", out, "--only", "row-1", "--yes")[0] == 0
    sent = submits(hosted)
    assert command("run", pairs(6), "--out", out)[0] == 2
    assert (answers, len(answers.asked), submits(hosted)) == ([], 2, sent)


@pytest.mark.slow
def test_yes_answers_for_the_rest_too_and_a_script_is_told_its_price(hosted, command, pairs, out, answers):
    assert command("run", pairs(3), "--out", out, "--pilot", "1", "--yes")[0] == 7
    code, _, why = command("run", pairs(3), "--out", out, "--yes")
    assert (code, answers.asked, submits(hosted)) == (0, [], 3)
    assert "3 rows, 2 jobs to send, $0.03 each (as paid last), at most $0.06 in all at that price" in why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "jobs", "price", "told"),
    [
        (["--max-cost", "0.05"], "up to 3 jobs", "at most $0.05 (--max-cost)", "at most $0.05 (--max-cost)"),
        (["--max-cost", "1"], "3 jobs", "$0.09 in all (--max-cost $1.00)", "$0.09 in all (--max-cost $1.00)"),
        (
            ["--pilot", "2", "--max-cost", "0.05"],
            "up to 2 of 3 jobs (--pilot 2)",
            "at most $0.05 (--max-cost)",
            "at most $0.05 (--max-cost)",
        ),
        (["--pilot", "5"], "3 jobs", "$0.09 in all", "at most $0.09 in all at that price (no --max-cost)"),
    ],
)
def test_the_question_names_what_a_pilot_and_a_limit_let_through(
    hosted, command, pairs, out, answers, given, jobs, price, told
):
    answers += [False]
    code, _, why = command("run", pairs(3), "--out", out, *given)
    assert (code, submits(hosted)) == (2, 0)
    assert answers.asked == [f"Send {jobs} at {LISTED}, {price}?"]
    assert f"3 rows, {jobs} to send, {LISTED}, {told}. Takes " in why


@pytest.mark.slow
def test_a_manifest_that_shares_no_row_with_the_one_before_is_asked_for(hosted, command, pairs, out, answers):
    answers += [True, False, True]
    assert command("run", pairs(2), "--out", out)[0] == 0
    others = pairs([line | {"id": f"other-{line['id']}", "seed": 77} for line in rows(2)])
    assert (command("run", others, "--out", out)[0], submits(hosted)) == (2, 2)
    assert (command("run", others, "--out", out)[0], submits(hosted)) == (0, 4)
    assert command("run", pairs([*rows(1), *rows(2)[1:]]), "--out", out)[0] == 0  # nothing to send
    assert answers.asked[1:] == ["Send 2 jobs at $0.03 each (as paid last), $0.06 in all?"] * 2


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("given", "asked"),
    [
        pytest.param(["--yes"], [], id="yes"),
        pytest.param(
            ["--candidates", "2"],
            [
                "3 further images, more seeds a row. Pay for them, about $0.09 (the list price of November 2026)?"
            ],
            id="candidates",
        ),
    ],
)
def test_another_yes_answers_it_too(hosted, command, pairs, out, answers, given, asked):
    answers += [True]
    assert command("run", pairs(3), "--out", out, *given)[0] == 0
    assert answers.asked == asked
    assert submits(hosted) == (6 if asked else 3)


@pytest.mark.slow
def test_the_yes_of_a_job_file_answers_it_and_quiet_prints_nothing(
    hosted, command, pairs, out, tmp_path, answers
):
    (tmp_path / "night.yaml").write_text(
        json.dumps({"manifest": str(pairs(3)), "out": str(out), "yes": True, "quiet": True})
    )
    assert command("run", tmp_path / "night.yaml") == (0, "", "")
    assert (answers.asked, submits(hosted)) == ([], 3)


@pytest.mark.slow
def test_who_said_yes_is_not_asked_again_because_a_key_was_refused(
    hosted, command, pairs, out, answers, monkeypatch
):
    answers += [True]
    monkeypatch.setenv("SEGMIND_API_KEY", "wrong")
    code, _, why = command("run", pairs(3), "--out", out)
    assert (code, why.endswith("3 rows not sent yet: run the same command again.\n")) == (3, True)
    monkeypatch.setenv("SEGMIND_API_KEY", hosted.api_key)
    assert command("run", pairs(3), "--out", out)[0] == 0
    assert answers.asked == [QUESTION]


@pytest.mark.slow
def test_the_local_service_asks_and_says_nothing_of_a_price(command, tmp_path, out, answers):
    support.picture(tmp_path / "chair.png")
    line = rows(1)[0] | {"image_1": "chair.png", "image_2": "chair.png"}
    code, told, why = command("run", write_csv(tmp_path / "pairs.csv", [line]), "--out", out, "--local")
    assert (code, answers.asked, "list price" in why) == (0, [], False)
    assert told.startswith("1 saved, 0 failed; $0.03 this run, $0.03 in all (simulated); ")


# -- by a column ------------------------------------------------------------------------------------------------------


def branded(pairs):
    """Return a manifest with six rows of three brands, one of them blank."""
    brands = ["Oak & Co", "Oak & Co", 'O"K.', "Oak & Co", 'O"K.', ""]
    return pairs([line | {"Marken-Name": brand} for line, brand in zip(rows(6), brands, strict=True)])


def values(groups):
    return {each.pop("value"): each for each in groups["values"]}


def test_images_and_cost_are_told_by_brand_in_plan_status_and_summary(hosted, command, pairs, out):
    manifest = branded(pairs)
    hosted.settings(blocked_words=["oak 2"])
    told = [
        " ".join(line.split())
        for line in command("plan", manifest, "--group-by", "marken name")[1].splitlines()
    ]
    assert told[told.index("by Marken-Name rows to send cost") :][1:4] == [
        "Oak & Co 3 3 $ 0.09", 'O"K. 2 2 $ 0.06', "(empty) 1 1 $ 0.03",
    ]  # fmt: skip
    assert command("run", manifest, "--out", out, "--group-by", "marken_name")[0] == 1
    groups = summary(out)["groups"]
    assert groups["column"] == "Marken-Name"
    assert values(groups) == {
        "Oak & Co": {"rows": 3, "saved": 3, "failed": 0, "spent_usd": 0.09},
        'O"K.': {"rows": 2, "saved": 1, "failed": 1, "spent_usd": 0.03},
        "": {"rows": 1, "saved": 1, "failed": 0, "spent_usd": 0.03},
    }
    assert command("mark", out, "--accept", "row-0")[0] == 0
    assert "groups" in summary(out)  # it is remembered
    told = command("status", out, "--group-by", "Prompt")[1]
    assert [" ".join(line.split()) for line in told.splitlines()].count("oak 1 1 1 0 $ 0.03") == 1
    assert "by 'Marken-Name', which this manifest does not have" in command("run", pairs(6), "--out", out)[2]
    assert "groups" not in summary(out)
    assert command("report", out, "--group-by", "image_format")[0] == 0
    assert summary(out)["groups"]["values"] == [
        {"value": "webp", "rows": 6, "saved": 5, "failed": 1, "spent_usd": 0.15}
    ]


@pytest.mark.parametrize("word", ["plan", "run"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(hosted, command, pairs, out, word):
    code, told, why = command(word, branded(pairs), "--out", out, "--group-by", "season")
    assert (code, told, submits(hosted)) == (2, "", 0)
    assert (
        "--group-by season: no column has that heading. There are: image_1, image_2, prompt, seed, Marken-Name, "
        in why
    )


def test_a_parameter_is_counted_under_the_heading_that_the_sheet_has(hosted, command, pairs, out):
    lines = [
        {"Bild 1" if name == "image_1" else name: value for name, value in line.items()} for line in rows(2)
    ]
    words = ("--column", "image_1=Bild 1", "--group-by", "bild-1")
    assert "by Bild 1 " in command("plan", pairs(lines), *words)[1]
    assert command("run", pairs(lines), "--out", out, *words)[0] == 0
    assert summary(out)["groups"]["column"] == "Bild 1"
    told = command("status", out, "--group-by", "image_1")[1]
    assert ("by Bild 1" in told, rows(1)[0]["image_1"][:20] in told) == (True, True)
