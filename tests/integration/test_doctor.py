"""`texbatch doctor`: all that a run needs is examined, all that is wrong told at once, nothing spent, nothing left behind."""

import sqlite3

import pytest
import support

from batch import doctor

NEVER_POSTED = {"submit": 0, "upload": 0}


def grades(told):
    """Return what the doctor found, as {subject: (grade, rest)}."""
    lines = [line.split(maxsplit=2) for line in told.splitlines()]
    return {subject: (grade, rest) for grade, subject, rest in lines}


def test_the_doctor_finds_all_in_order_and_spends_nothing(hosted, command, out):
    code, told, why = command("doctor", "--out", out)
    found = grades(told)
    assert (code, why) == (0, "")
    assert {grade for grade, _ in found.values()} == {"ok"}
    assert set(found) == {
        "versions", "libraries", "disk", "lock", "ledger", "proxies", "host", "clock", "key", "balance", "uploads", "history",
    }  # fmt: skip
    assert found["balance"][1].startswith("$1000.00")
    calls = hosted.stats(jobs=False)["calls"]
    assert {name: calls[name] for name in NEVER_POSTED} == NEVER_POSTED
    assert hosted.api_key not in told


def test_the_doctor_leaves_nothing_behind(hosted, command, out, tmp_path):
    command("doctor", "--out", out / "deep" / "deeper")
    assert support.files_in(tmp_path) == []
    assert not out.exists()


def test_the_doctor_examines_the_local_service_without_a_key(command, out):
    code, told, _ = command("doctor", "--local", "--out", out)
    assert code == 0
    assert grades(told)["balance"][1].endswith("simulated")


def test_the_doctor_tells_all_that_is_wrong_at_once(command, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMIND_BASE_URL", "http://127.0.0.1:1")
    (tmp_path / "file").write_text("")
    code, told, _ = command("doctor", "--out", tmp_path / "file")
    assert code == 3
    failed = {subject for subject, (grade, _) in grades(told).items() if grade == "fail"}
    assert failed == {"disk", "key", "host", "uploads", "history"}
    assert "SEGMIND_API_KEY" in told
    assert "Check the network" in told


@pytest.mark.parametrize(
    ("settings", "subject", "grade", "said"),
    [
        pytest.param({"clock_skew_s": 300.0}, "clock", "warn", " s behind the", id="our clock is slow"),
        pytest.param({"clock_skew_s": -300.0}, "clock", "warn", " s ahead of the", id="our clock is fast"),
        pytest.param({"balance_usd": 0.0}, "balance", "fail", "Add credits", id="no credits"),
    ],
)
def test_the_doctor_reads_clock_and_balance(hosted, command, out, settings, subject, grade, said):
    hosted.settings(**settings)
    code, told, _ = command("doctor", "--out", out)
    assert code == (3 if grade == "fail" else 0)
    assert grades(told)[subject][0] == grade
    assert said in grades(told)[subject][1]


def test_the_doctor_tells_a_wrong_key_without_showing_it(hosted, command, out, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_not_this_one")
    code, told, why = command("doctor", "--out", out)
    assert code == 3
    assert grades(told)["key"][0] == "fail"
    assert "SG_not_this_one" not in told + why


def test_the_doctor_shows_a_proxy_without_its_password(hosted, command, out, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:pass-word@127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    told = command("doctor", "--out", out)[1]
    assert grades(told)["proxies"] == ("ok", "https over 127.0.0.1:3128, but not for internal.example")


def test_the_doctor_reads_a_job_file_as_its_schedule_does(api, command, tmp_path, monkeypatch):
    """Its --out, its key file, and the .env beside it."""
    monkeypatch.setenv("SEGMIND_BASE_URL", api.base_url)
    (tmp_path / "job.yaml").write_text("manifest: pairs.csv\nout: ${WHERE}/night\n")
    (tmp_path / ".env").write_text(f"SEGMIND_API_KEY={api.api_key}\n")
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("WHERE", "there")
    code, told, _ = command("doctor", tmp_path / "job.yaml")
    assert code == 0
    assert str(tmp_path / "there") in grades(told)["disk"][1]


@pytest.mark.parametrize("trouble", ["lock", "ledger", "disk"])
def test_the_doctor_tells_a_file_system_that_will_not_do(hosted, command, out, monkeypatch, trouble):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    if trouble == "lock":
        monkeypatch.setattr(doctor.fcntl, "flock", refuse)
    elif trouble == "ledger":
        monkeypatch.setattr(doctor.probe, "why_not", lambda _: "journal mode delete")
    else:
        usage = type("Usage", (), {"free": 1024})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    code, told, _ = command("doctor", "--out", out)
    assert code == 3
    assert grades(told)[trouble][0] == "fail"


def test_a_ledger_is_tried_for_real(tmp_path):
    assert doctor.probe.why_not(tmp_path) is None
    assert sqlite3.connect(tmp_path / "ledger.sqlite").execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert doctor.probe.why_not(tmp_path / "gone") == "unable to open database file"
