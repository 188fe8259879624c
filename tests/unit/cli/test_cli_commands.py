"""The commands that send nothing, and what they say."""

import json
import os
import shlex

import pytest
import support
from support import rows, write_csv


@pytest.fixture
def pairs(tmp_path):
    return write_csv(tmp_path / "pairs.csv", rows(3))


@pytest.fixture
def bad(tmp_path):
    lines = rows(3)
    lines[0]["seed"], lines[2]["image_1"] = "many", "missing.png"
    return write_csv(tmp_path / "bad.csv", lines)


def test_validate_tells_every_problem_with_place_and_remedy(command, bad):
    code, _, told = command("validate", bad)
    assert code == 2
    assert "bad.csv:2:seed:" in told
    assert "bad.csv:4:image_1:" in told


def test_validate_tells_machines_too(command, bad, pairs):
    code, told, _ = command("validate", bad, "--format", "json")
    report = json.loads(told)
    assert (code, report["errors"], report["warnings"]) == (2, 2, 0)
    assert [(problem["row"], problem["column"], problem["severity"]) for problem in report["problems"]] == [
        (2, "seed", "error"), (4, "image_1", "error"),
    ]  # fmt: skip
    assert all(problem["reason"] and problem["remedy"] and problem["file"] for problem in report["problems"])
    code, told, _ = command("validate", pairs, "--format", "json")
    assert (code, json.loads(told)) == (0, {"rows": 3, "errors": 0, "warnings": 0, "problems": []})


def stamps(out):
    """Return when each file was written; SQLite's own helpers of a reader hold nothing."""
    names = [name for name in support.files_in(out) if not name.startswith("ledger.sqlite-")]
    return {name: (out / name).stat().st_mtime_ns for name in names}


def squeezed(told):
    """Return the lines of a table without their padding."""
    return {" ".join(line.split()) for line in told.splitlines()}


def test_plan_tells_what_would_be_sent_and_changes_nothing(hosted, command, pairs, tmp_path):
    out = tmp_path / "out"
    code, told, _ = command("plan", pairs)
    assert code == 0
    assert {"3 rows:", "new 3 $ 0.09 to pay"} <= squeezed(told)
    assert not out.exists()
    assert command("run", pairs, "--out", out)[0] == 0
    before = stamps(out)
    more = rows(5)
    more[0]["prompt"] = "walnut"
    code, told, why = command("plan", write_csv(pairs, more), "--out", out)
    assert code == 0
    lines = {line.partition(" ")[0]: line for line in squeezed(told)}
    assert lines["new"].startswith("new 2 ")
    assert "0.06 to pay" in lines["new"]
    assert lines["changed"].startswith("changed 1 ")
    assert "0.03 to pay again" in lines["changed"]
    assert lines["done"].startswith("done 2 ")
    assert lines["3"] == "3 jobs to send, for about $0.09, $0.03 each (as paid last)"
    assert "row-0" in told + why
    assert stamps(out) == before
    assert hosted.stats(jobs=False)["calls"]["submit"] == 3


@pytest.mark.parametrize("command_name", ["run", "retry"])
def test_a_dry_run_sends_nothing_and_needs_no_key(
    hosted, command, pairs, tmp_path, command_name, monkeypatch
):
    out = tmp_path / "out"
    hosted.settings(blocked_words=["oak 1"])
    if command_name == "retry":
        assert command("run", pairs, "--out", out)[0] == 1
    before = hosted.stats(jobs=False)["calls"]["submit"]
    monkeypatch.delenv("SEGMIND_API_KEY")
    args = ["run", pairs, "--out", out, "-n"] if command_name == "run" else ["retry", out, "-n"]
    code, told, why = command(*args)
    assert (code, why) == (0, "")
    assert ("3 jobs to send" if command_name == "run" else "1 job to send") in told
    assert hosted.stats(jobs=False)["calls"]["submit"] == before


def test_status_tells_people_and_machines(hosted, command, pairs, tmp_path):
    out = tmp_path / "out"
    hosted.settings(blocked_words=["oak 1"])
    assert command("run", pairs, "--out", out)[0] == 1
    code, told, _ = command("status", out, "--json")
    assert (code, json.loads(told)) == (0, support.summary(out))
    assert list(json.loads(told)) == [
        "rows", "saved", "failed", "expired", "unknown", "pending", "abandoned", "spent_usd", "run_spent_usd", "at_risk_usd",
        "saved_by_resume_usd", "simulated", "started_at", "ended_at", "seconds", "rows_per_minute", "status_calls",
        "http_429", "exit_code", "top_errors", "moved", "changed", "accepted", "rejected",
    ]  # fmt: skip
    code, told, _ = command("status", out)
    assert code == 0
    assert "job_failed" in told


def test_a_run_says_how_it_ended_and_what_to_do(hosted, command, pairs, tmp_path):
    out = tmp_path / "out"
    hosted.settings(blocked_words=["oak 1"])
    code, told, why = command("run", pairs, "--out", out)
    assert code == 1
    assert told.startswith("2 saved, 1 failed; $0.06 this run, $0.06 in all; ")
    assert f"texbatch retry {out}" in why
    assert "blocked" in why


def test_a_command_in_a_message_is_one_that_a_shell_takes(hosted, command, pairs, tmp_path):
    out = tmp_path / "spring & summer"
    hosted.settings(blocked_words=["oak 1"])
    why = command("run", pairs, "--out", out)[2]
    (line,) = [line for line in why.splitlines() if "texbatch retry" in line]
    assert shlex.split(line.partition("then: ")[2]) == ["texbatch", "retry", str(out)]
    odd = pairs.rename(tmp_path / "my pairs.csv")
    odd.write_text(odd.read_text().replace("image_1", "imag_1"))
    told = command("doctor", odd)[1]
    assert f"texbatch validate '{odd}'" in told


def test_a_refused_run_counts_the_problems_and_not_the_warnings(hosted, command, tmp_path):
    (line,) = rows(1)
    path = write_csv(tmp_path / "p.csv", [line | {"seed": "many", "sed": "7"}])
    assert "1 problem; nothing would be sent." in command("validate", path)[1]
    code, _, why = command("run", path, "--out", tmp_path / "out")
    assert (code, "p.csv:1:sed: warning:" in why) == (2, True)
    assert "1 problem; nothing was sent." in why


def test_a_job_file_whose_manifest_is_misspelt_says_so(command, tmp_path, pairs):
    job = tmp_path / "job.yaml"
    job.write_text(f"manifst: {pairs.name}\nout: out\n")
    code, _, why = command("run", job)
    assert (code, "Did you mean manifest?" in why, "--out is missing" in why) == (2, True, False)


def test_a_missing_picture_is_told_with_its_row(hosted, command, tmp_path):
    lines = [line | {"image_1": "no-such.png"} for line in rows(1)]
    code, _, why = command("run", write_csv(tmp_path / "p.csv", lines), "--out", tmp_path / "out")
    assert code == 2
    assert "p.csv:2:image_1" in why
    assert "nothing was sent" in why


def test_the_version_is_told(command):
    code, told, _ = command("--version")
    assert code == 0
    assert told.startswith("texbatch, version ")


@pytest.mark.parametrize("name", ["pairs.xlsx", "pairs.PARQUET"])
@pytest.mark.parametrize(
    "words", [["validate"], ["plan"], ["run", "--local"], ["run", "--local", "-n"]], ids=" ".join
)
def test_an_encoding_for_a_file_that_tells_its_own_is_refused(command, tmp_path, name, words):
    first, *others = words
    out = [] if first == "validate" else ["--out", tmp_path / "out"]
    code, _, told = command(first, tmp_path / name, "--encoding", "cp1252", *out, *others)
    assert code == 2
    assert (
        f"{name}: --encoding cp1252: a .{name.lower().split('.')[1]} file knows its own encoding. Leave"
        in told
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", "pairs.csv", "--out", "LONG", "--dry-run"), ("plan", "pairs.csv", "--out", "LONG"), ("status", "LONG"),
        ("retry", "LONG"), ("report", "LONG"), ("resolve", "LONG"), ("restore", "LONG"), ("restore", "out", "--from", "LONG"),
        ("doctor", "--out", "LONG"), ("validate", "LONG.csv"), ("run", "LONG.yaml", "--out", "out"),
        ("run", "job.yaml", "--out", "out"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_path_that_the_system_refuses_is_wrong_usage(command, pairs, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(f"manifest: {'a' * 300}.csv\n")
    code, _, why = command(*(word.replace("LONG", "a" * 300) for word in words))
    assert (code, "File name too long" in why) == (2, True)


@pytest.mark.parametrize(
    "words", [("status",), ("retry",), ("report",), ("plan", "pairs.csv", "--out"), ("doctor", "--out")]
)
def test_a_folder_that_may_not_be_entered_is_wrong_usage(command, pairs, tmp_path, monkeypatch, words):
    """As `chmod a-x` makes one; root may enter it all the same, so the system's word is set here."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    stat = os.stat

    def refusing(path, **options):
        if str(path).startswith(("out/", str(tmp_path / "out/"))):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refusing)
    code, _, why = command(*words, "out")
    assert (code, "'out' cannot be looked up (Permission denied)" in why) == (2, True)


@pytest.mark.parametrize(
    "out", ["s3://bucket/x", "gs://bucket", "file:///tmp/out", "https://example.com/out"]
)
@pytest.mark.parametrize(
    "words",
    [
        "run MANIFEST --local --out OUT", "run MANIFEST --local -n --out OUT", "plan MANIFEST --out OUT", "run JOB",
        "doctor --out OUT", "status OUT", "status OUT --watch", "report OUT", "resolve OUT", "restore OUT", "retry OUT",
    ],
)  # fmt: skip
def test_an_output_folder_that_is_a_url_is_refused(command, pairs, tmp_path, monkeypatch, words, out):
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "job.yaml"
    job.write_text(f"manifest: {pairs}\nout: {out}\nlocal: true\n", encoding="utf-8")
    given = {"MANIFEST": pairs, "JOB": job, "OUT": out}
    before = sorted(tmp_path.iterdir())
    code, _, why = command(*(given.get(word, word) for word in words.split()))
    assert (code, "is a URL" in why, "Give the path of a folder" in why) == (2, True, True)
    assert sorted(tmp_path.iterdir()) == before
