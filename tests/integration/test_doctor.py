"""`texbatch doctor`: all that a run needs is examined, all that is wrong told at once, nothing spent, nothing left behind."""

import sqlite3
from contextlib import closing

import pytest
import support

from batch.maintenance import doctor

NEVER_POSTED = {"submit": 0, "upload": 0}


def grades(told):
    """Return what the doctor found, as {subject: (grade, rest)}."""
    lines = [line.split(maxsplit=2) for line in told.splitlines()]
    return {subject: (status, rest) for status, subject, rest in lines}


def test_the_doctor_finds_all_in_order_and_spends_nothing(hosted, command, out):
    code, told, why = command("doctor", "--out", out)
    found = grades(told)
    assert (code, why) == (0, "")
    assert {status for status, _ in found.values()} == {"ok"}
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
    failed = {subject for subject, (status, _) in grades(told).items() if status == "fail"}
    assert failed == {"disk", "key", "host", "uploads", "history"}
    assert "SEGMIND_API_KEY" in told
    assert "Check the network" in told


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("settings", "subject", "status", "said"),
    [
        pytest.param({"clock_skew_s": 300.0}, "clock", "warn", " s behind the", id="our clock is slow"),
        pytest.param({"clock_skew_s": -300.0}, "clock", "warn", " s ahead of the", id="our clock is fast"),
        pytest.param({"balance_usd": 0.0}, "balance", "fail", "Add credits", id="no credits"),
    ],
)
def test_the_doctor_reads_clock_and_balance(hosted, command, out, settings, subject, status, said):
    hosted.settings(**settings)
    code, told, _ = command("doctor", "--out", out)
    assert code == (3 if status == "fail" else 0)
    assert grades(told)[subject][0] == status
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
    support.write_csv(tmp_path / "pairs.csv", support.rows(2))
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("WHERE", "there")
    code, told, _ = command("doctor", tmp_path / "job.yaml")
    assert code == 0
    assert str(tmp_path / "there") in grades(told)["disk"][1]
    assert grades(told)["manifest"] == ("ok", f"{tmp_path / 'pairs.csv'}: 2 rows, no problems")


@pytest.mark.parametrize("trouble", ["lock", "ledger", "disk"])
def test_the_doctor_tells_a_file_system_that_will_not_do(hosted, command, out, monkeypatch, trouble):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    if trouble == "lock":
        monkeypatch.setattr(doctor.fcntl, "flock", refuse)
    elif trouble == "ledger":
        monkeypatch.setattr(doctor.connection, "unsupported_reason", lambda _: "journal mode delete")
    else:
        usage = type("Usage", (), {"free": 1024})
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    code, told, _ = command("doctor", "--out", out)
    assert code == 3
    assert grades(told)[trouble][0] == "fail"


# -- whose a folder is ------------------------------------------------------------------------------------------------


@pytest.fixture
def paid(hosted, command, pairs, out):
    """A folder of three paid rows; gives their request ids, in the order of the events."""
    assert command("run", pairs(3), "--out", out, "--concurrency", "1")[0] == 0
    with closing(
        sqlite3.connect(out / "ledger.sqlite")
    ) as connection:  # open meanwhile: a reader leaves the log's files
        accepted = connection.execute("SELECT request_id FROM events WHERE event='accept' ORDER BY seq")
        yield [name for (name,) in accepted]


def test_the_doctor_says_whose_a_folder_is(hosted, command, paid, out):
    code, told, _ = command("doctor", "--out", out)
    found = grades(told)
    account = support.service_of(hosted).account
    assert code == 0
    for part in (
        account.host,
        account.key,
        "first used 20",
        "last used 20",
        f"first request {paid[0]}",
        f"last request {paid[-1]}",
    ):
        assert part in found["account"][1]
    assert found["access"] == ("ok", f"{account}: this folder knows it")


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("faults", "status", "said"),
    [
        ([], "ok", "is new here, and of the same account: its history lists request"),
        ([{"call": "history", "action": "status", "text": "not_found"}], "fail", "Give --same-account"),
        ([{"call": "history", "action": "status", "text": "unavailable"}], "fail", "out of reach"),
        (
            [{"call": "history", "action": "status", "text": "wrong_key"}],
            "fail",
            "The key was not accepted (401)",
        ),
    ],
)
def test_the_doctor_says_what_a_new_key_would_mean(
    hosted, command, paid, out, monkeypatch, waits, faults, status, said
):
    """And writes nothing down: asked again, it asks again."""
    waits(history_tries=1)
    hosted.settings(api_key="SG_new")
    hosted.faults(faults)
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_new")
    before = support.files_in(out), (out / "ledger.sqlite").read_bytes()
    for _ in range(2):
        code, told, _ = command("doctor", "--out", out)
        assert code == (0 if status == "ok" else 3)
        assert grades(told)["access"][0] == status
        assert said in grades(told)["access"][1]
    assert (support.files_in(out), (out / "ledger.sqlite").read_bytes()) == before


@pytest.mark.slow
def test_the_doctor_says_that_another_service_is_another_one(command, paid, out):
    code, told, _ = command("doctor", "--out", out, "--local")
    assert (code, grades(told)["access"][0]) == (3, "fail")


def test_the_doctor_says_that_a_folder_is_free(hosted, command, pairs, out, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_mistyped")
    assert command("run", pairs(1), "--out", out)[0] == 3
    monkeypatch.setenv("SEGMIND_API_KEY", hosted.api_key)
    code, told, _ = command("doctor", "--out", out)
    assert code == 0
    assert "nothing was ever accepted" in grades(told)["account"][1]
    assert "the folder is free for" in grades(told)["access"][1]


def test_the_doctor_says_that_a_folder_is_damaged(hosted, command, out):
    out.mkdir()
    (out / "ledger.sqlite").write_bytes(b"not a ledger" * 100)
    code, told, _ = command("doctor", "--out", out)
    assert (code, grades(told)["account"][0]) == (3, "fail")


@pytest.mark.parametrize("trouble", ["missing", "broken", "row"])
def test_the_doctor_examines_the_manifest_of_a_job(hosted, command, tmp_path, trouble):
    (tmp_path / "job.yaml").write_text("manifest: pairs.csv\nout: out\nquality: 50\n")
    if trouble == "broken":
        (tmp_path / "pairs.csv").write_bytes(b"\x00\xff")
    elif trouble == "row":
        support.write_csv(tmp_path / "pairs.csv", [support.rows(1)[0] | {"seed": "many"}])
    code, told, _ = command("doctor", tmp_path / "job.yaml")
    assert (code, grades(told)["manifest"][0]) == (3, "fail")
    assert "pairs.csv" in grades(told)["manifest"][1]


def test_the_doctor_says_what_the_night_would_send_and_cost(hosted, command, pairs, out, tmp_path):
    """As the job's own options have it, and changing nothing."""
    assert command("run", pairs(2), "--out", out, "--yes")[0] == 0
    lines = support.rows(4)
    lines[0]["prompt"] = "walnut"
    manifest = pairs(lines)
    before = (out / "ledger.sqlite").read_bytes(), (out / "summary.json").read_bytes()
    (tmp_path / "job.yaml").write_text(f"manifest: {manifest.name}\nout: out\nmax-cost: 5\nrate: 50/1m\n")
    code, told, _ = command("doctor", tmp_path / "job.yaml")
    found = grades(told)
    assert (code, found["manifest"]) == (0, ("ok", f"{manifest}: 4 rows, no problems"))
    said = "3 jobs to send, for about $0.09, $0.03 each (as paid last); --max-cost $5.00. Takes "
    assert (found["plan"][0], found["plan"][1].startswith(said)) == ("ok", True)
    assert found["changed"][0] == "warn"
    assert "1 row changed since paid for, about $0.03. Without a terminal nothing is sent" in told
    with (tmp_path / "job.yaml").open("a") as file:
        file.write("yes: true\n")
    assert "changed" not in grades(command("doctor", tmp_path / "job.yaml")[1])
    assert ((out / "ledger.sqlite").read_bytes(), (out / "summary.json").read_bytes()) == before
    assert support.submits(hosted) == 2
    found = grades(command("doctor", pairs(2), "--out", out)[1])
    assert found["plan"] == ("ok", "nothing to send: 2 of 2 rows saved already")


def test_a_ledger_is_tried_for_real(tmp_path):
    assert doctor.connection.unsupported_reason(tmp_path) is None
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert doctor.connection.unsupported_reason(tmp_path / "gone") == "unable to open database file"
