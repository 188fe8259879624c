"""What an operator has: a log for machines, figures for Prometheus, quiet."""

import json

import pytest
import support
from prometheus_client.parser import text_string_to_metric_families
from support import environment, rows, write_csv

from batch.cli import metrics_file
from batch.output.folder import OutputFolder
from batch.server import LocalApi


@pytest.fixture
def manifest(pairs):
    return pairs(6)


def log_of(text):
    return [json.loads(line) for line in text.splitlines()]


def figure(path, name, **labels):
    """Return one figure of a textfile, as Prometheus reads it."""
    families = text_string_to_metric_families(path.read_text(encoding="utf-8"))
    (found,) = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return found


# -- --log-format json ------------------------------------------------------------------------------------------------


def test_every_line_of_a_json_log_is_an_event_of_the_run(hosted, command, manifest, out):
    hosted.settings(blocked_words=["oak 3"])
    code, told, log = command("run", manifest, "--out", out, "--log-format", "json", "-v")
    lines = log_of(log)
    assert (code, told) == (1, "")
    assert {tuple(line)[:4] for line in lines} == {("ts", "level", "event", "run_id")}
    assert len({line["run_id"] for line in lines}) == 1
    assert [line["ts"] for line in lines] == sorted(line["ts"] for line in lines)
    assert [lines[0]["event"], lines[-1]["event"]] == ["run.planned", "run.ended"]
    names = [line["event"] for line in lines]
    assert {name: names.count(f"job.{name}") for name in ("accepted", "completed", "saved", "failed")} == {
        "accepted": 6, "completed": 5, "saved": 5, "failed": 1,
    }  # fmt: skip


def test_a_job_has_the_same_fields_at_every_step(hosted, command, manifest, out):
    log = log_of(command("run", manifest, "--out", out, "--log-format", "json", "-v")[2])
    known = {row["id"]: row["request_id"] for row in support.report(out)}
    for line in log:
        if line["event"].startswith("job."):
            assert (line["request_id"], line["attempt"]) == (known[line["id"]], 1)
    completed = [line for line in log if line["event"] == "job.completed"]
    assert {line["cost_usd"] for line in completed} == {0.03}


@pytest.mark.slow
def test_an_attempt_is_counted_where_the_ledger_counts_it(hosted, command, tmp_path, out):
    hosted.faults(
        [{"call": "submit", "action": "status", "text": "rate_limit", "reset_in_s": 0.05, "first": 1}]
    )
    manifest = write_csv(tmp_path / "pairs.csv", rows(1))
    log = log_of(command("run", manifest, "--out", out, "--log-format", "json", "-v")[2])
    steps = [(line["event"], line["attempt"]) for line in log if line["event"].startswith("job.")]
    assert steps == [("job.throttled", 1), ("job.accepted", 2), ("job.completed", 2), ("job.saved", 2)]
    assert support.report(out)[0]["attempts"] == "2"


def test_the_plan_and_the_end_have_the_figures(hosted, command, manifest, out):
    log = log_of(command("run", manifest, "--out", out, "--log-format", "json", "--price", "0.03")[2])
    assert [line["event"] for line in log] == [
        "run.planned",
        "run.price",
        "run.ended",
    ]  # all went well: no step of a job
    assert (log[0]["rows"], log[0]["to_send"], log[0]["cost_usd"]) == (6, 6, 0.18)
    assert (log[1]["price_usd"], log[1]["price_source"], log[1]["cost_usd"]) == (0.03, "as given", 0.18)
    ended = {name: value for name, value in support.summary(out).items() if value is not None}
    assert ended.items() <= log[-1].items()


def test_without_verbose_what_went_wrong_is_told_and_quiet_leaves_it(hosted, command, manifest, out):
    hosted.settings(blocked_words=["oak 3"])
    for options in ([], ["-q"]):
        log = log_of(
            command("run", manifest, "--out", out, "--retry-failed", "--log-format", "json", *options)[2]
        )
        (failed,) = [line for line in log if line["event"] == "job.failed"]
        assert (failed["id"], failed["level"], failed["error_class"]) == ("row-3", "error", "job_failed")
        assert (log[-1]["event"], log[-1]["level"], log[-1]["exit_code"]) == ("run.ended", "error", 1)
    assert [line["event"] for line in log] == ["job.failed", "run.ended"]


@pytest.mark.slow
def test_progress_and_warnings_are_events_too(hosted, command, manifest, out, monkeypatch):
    monkeypatch.setattr("batch.cli.console.LOG_EVERY_S", 0.0)
    hosted.faults([{"call": "credits", "action": "status", "status": 500, "body": "no"}])
    log = log_of(command("run", manifest, "--out", out, "--log-format", "json", "--progress", "bar")[2])
    (warned,) = [line for line in log if line["event"] == "run.warning"]
    assert "balance could not be read" in warned["message"]
    last = [line for line in log if line["event"] == "run.progress"][-1]
    assert (last["total"], last["ended"], last["saved"], last["spent_usd"]) == (6, 6, 6, 0.18)


@pytest.mark.parametrize(
    ("args", "events", "code"),
    [
        pytest.param(["--concurrency", "no"], ["command.refused"], 2, id="usage after the option"),
        pytest.param(["--only", "row-77"], ["manifest.problem", "command.refused"], 2, id="manifest"),
        pytest.param(["--job-timeout", "0s"], ["command.refused"], 2, id="settings"),
    ],
)
def test_a_refusal_is_told_in_the_same_format(hosted, command, manifest, out, args, events, code):
    ended, told, log = command("run", manifest, "--out", out, "--log-format", "json", *args)
    lines = log_of(log)
    assert (ended, told) == (code, "")
    assert [line["event"] for line in lines] == events
    assert lines[-1]["exit_code"] == code
    assert {line["level"] for line in lines} == {"error"}


def test_a_bug_is_told_in_the_same_format_without_the_key(hosted, command, manifest, out, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError(f"ours, with {hosted.api_key}")

    monkeypatch.setattr("batch.execution.runner.run", broken)
    code, _, log = command("run", manifest, "--out", out, "--log-format", "json")
    (line,) = log_of(log)
    assert (code, line["event"], line["exit_code"]) == (70, "command.crashed", 70)
    assert "ZeroDivisionError" in line["traceback"]
    assert hosted.api_key not in log


@pytest.mark.quick(1)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_key_that_the_service_echoes_is_masked(command, manifest, out, monkeypatch, log_format):
    with LocalApi(**support.QUICK) as api:
        echo = {"error": f"key {api.api_key} is overdrawn"}
        api.faults([{"call": "submit", "action": "status", "status": 400, "body": echo}])
        for name, value in environment(api).items():
            if name.startswith("SEGMIND_"):
                monkeypatch.setenv(name, value)
        _, _, log = command("run", manifest, "--out", out, "-v", "--log-format", log_format)
        assert "is overdrawn" in log
        assert api.api_key not in log


@pytest.mark.slow
def test_a_log_can_be_asked_for_by_the_environment_and_by_a_job_file(
    hosted, command, manifest, out, tmp_path, monkeypatch
):
    (tmp_path / "job.yaml").write_text(f"manifest: pairs.csv\nout: {out}\nlog-format: json\n")
    assert log_of(command("run", tmp_path / "job.yaml")[2])[-1]["event"] == "run.ended"
    monkeypatch.setenv("TEXBATCH_LOG_FORMAT", "json")
    assert log_of(command("run", manifest, "--out", out)[2])[-1]["event"] == "run.ended"


# -- quiet ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_quiet_speaks_when_rows_failed(hosted, command, manifest, out):
    hosted.settings(blocked_words=["oak 3"])
    code, told, why = command("run", manifest, "--out", out, "-q")
    assert code == 1
    assert told.startswith("5 saved, 1 failed")
    assert "texbatch retry" in why


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("options", "code"),
    [(["--pilot", "2"], 7), (["--max-cost", "0.06", "--price", "0.03", "--concurrency", "1"], 8)],
)
def test_quiet_is_silent_at_an_end_as_planned(hosted, command, manifest, out, options, code):
    assert command("run", manifest, "--out", out, "-q", *options) == (code, "", "")


# -- --metrics-file ---------------------------------------------------------------------------------------------------


def test_the_metrics_file_has_the_figures_of_the_end(hosted, command, manifest, out, tmp_path):
    hosted.settings(blocked_words=["oak 3"])
    prom = tmp_path / "texbatch.prom"
    assert command("run", manifest, "--out", out, "--metrics-file", prom)[0] == 1
    assert figure(prom, "texbatch_rows", status="saved", folder=str(out)) == 5
    assert figure(prom, "texbatch_rows_with_error", error_class="job_failed") == 1
    assert figure(prom, "texbatch_spent_usd_total", simulated="false") == 0.15
    assert figure(prom, "texbatch_run_exit_code") == 1


@pytest.mark.slow
def test_the_metrics_file_is_written_each_minute_of_a_run(
    hosted, command, manifest, out, tmp_path, monkeypatch
):
    """With a shorter minute: while jobs are in flight there is no exit code yet."""
    monkeypatch.setattr(metrics_file, "METRICS_EVERY_S", 0.1)
    hosted.settings(latency_s=1.0)
    seen = []
    write = metrics_file.write_metrics

    def noted(ledger, folder, path):
        write(ledger, folder, path)
        seen.append(path.read_text(encoding="utf-8"))

    monkeypatch.setattr(metrics_file, "write_metrics", noted)
    assert command("run", manifest, "--out", out, "--metrics-file", tmp_path / "texbatch.prom")[0] == 0
    assert len(seen) > 3
    assert any('texbatch_jobs_in_flight{folder="' in text and "exit_code" not in text for text in seen)
    assert "exit_code" in seen[-1]


def test_a_metrics_file_that_cannot_be_written_does_not_end_the_run(hosted, command, manifest, out, tmp_path):
    code, _, why = command(
        "run", manifest, "--out", out, "--metrics-file", tmp_path / "gone" / "texbatch.prom"
    )
    assert code == 0
    assert why.count("--metrics-file") == 1


def test_a_refused_run_leaves_the_figures_of_the_one_that_holds_the_folder(
    hosted, command, manifest, out, tmp_path
):
    prom = tmp_path / "texbatch.prom"
    with OutputFolder(out).hold():
        assert command("run", manifest, "--out", out, "--metrics-file", prom)[0] == 6
    assert not prom.exists()
