"""A folder belongs to an account, not to a key: known by what it knows, claimed only by what was accepted."""

import json
import signal

import pytest
import support
from support import Command, by_id, go, rows, service_of, statuses, submits, write_csv

from batch import RunSettings, Service, UsageError, run
from batch.core.errors import FolderError
from batch.ledger import accounts
from batch.ledger.ledger import Ledger
from batch.server import LocalApi

MISTYPED, ROTATED = "SG_mistyped0000000", "SG_rotated00000000"
KNOWS_NONE = {"call": "history", "action": "status", "text": "not_found"}
NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


@pytest.fixture(autouse=True)
def hasty(waits):
    """Let a history that is off be given up at once."""
    waits(history_tries=1)


@pytest.fixture
def nightly(hosted, command, pairs, out):
    """Run so many rows into the folder; gives the exit code, all that was said, and how many submits and look-ups it took."""

    def night(count, *options):
        manifest = pairs(count) if count else write_empty(pairs)
        before = hosted.stats(jobs=False)["calls"]
        code, told, said = command("run", manifest, "--out", out, "--settle", "0.1s", *options)
        after = hosted.stats(jobs=False)["calls"]
        return code, told + said, after["submit"] - before["submit"], after["history"] - before["history"]

    return night


def write_empty(pairs):
    manifest = pairs(1)
    manifest.write_text(manifest.read_text().splitlines()[0] + "\n")
    return manifest


@pytest.fixture
def rotate(hosted, monkeypatch):
    """Give the environment another key, which the service takes for the same account."""

    def to(key=ROTATED):
        hosted.settings(api_key=key)
        monkeypatch.setenv("SEGMIND_API_KEY", key)
        return key

    return to


def hows(out):
    with Ledger.read(out / "ledger.sqlite") as ledger:
        return [seen.how for seen in accounts.keys(ledger)]


# -- what sent nothing claims nothing ---------------------------------------------------------------------------------


def test_a_mistyped_key_does_not_shut_the_folder(hosted, nightly, out, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", MISTYPED)
    code, told, *_ = nightly(2)
    assert code == 3
    assert "SEGMIND_API_KEY" in told
    assert statuses(out) == {"pending": 2}
    monkeypatch.setenv("SEGMIND_API_KEY", hosted.api_key)
    assert nightly(2)[0] == 0
    assert (statuses(out), hosted.stats(jobs=False)["accepted"]) == ({"saved": 2}, 2)


@pytest.mark.slow
def test_a_mistyped_key_with_local_pictures_does_not_shut_the_folder(
    hosted, command, tmp_path, out, monkeypatch
):
    support.picture(tmp_path / "chair.png")
    manifest = write_csv(tmp_path / "pairs.csv", [rows(1)[0] | {"image_1": "chair.png"}])
    monkeypatch.setenv("SEGMIND_API_KEY", MISTYPED)
    assert command("run", manifest, "--out", out)[0] == 3
    monkeypatch.setenv("SEGMIND_API_KEY", hosted.api_key)
    assert command("run", manifest, "--out", out)[0] == 0


@pytest.fixture
def drawn(tmp_path):
    """Write a manifest of so many rows with pictures on this machine, which the local service can use too."""
    for name in ("chair", "oak"):
        support.picture(tmp_path / f"{name}.png")

    def write(count):
        lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(count)]
        return write_csv(tmp_path / "drawn.csv", lines)

    return write


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("first", ["--local", None], ids=["local first", "paid first"])
def test_a_run_refused_for_its_missing_manifest_claims_nothing(hosted, command, drawn, out, tmp_path, first):
    options, other = ([first], []) if first else ([], ["--local"])
    assert command("run", tmp_path / "missing.csv", "--out", out, *options)[0] == 2
    code, told, _ = command("run", drawn(1), "--out", out, *other)
    assert code == 0
    assert ("simulated" in told) is bool(other)


@pytest.mark.slow
def test_a_run_whose_rows_were_all_refused_claims_nothing(hosted, pairs, out):
    hosted.faults([{"call": "submit", "action": "status", "text": "parameter"}])
    assert go(hosted, pairs(2), out).exit_code == 1
    with LocalApi(**support.QUICK) as other:
        assert go(other, pairs(3), out).exit_code == 1
        assert (submits(other), statuses(out)) == (1, {"failed": 2, "saved": 1})


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_claims_nothing(api, pairs, out, waits):
    waits(unreachable_tries=0)
    nowhere = support.service_at("http://127.0.0.1:1", api_key="k")
    assert run(pairs(1), RunSettings(out), nowhere).exit_code == 3
    assert go(api, pairs(1), out).exit_code == 0


@pytest.mark.slow
def test_a_balance_that_is_too_small_claims_nothing(api, pairs, out):
    api.settings(balance_usd=0.0)
    assert go(api, pairs(1), out, price=30_000).exit_code == 3
    with LocalApi(**support.QUICK) as other:
        assert go(other, pairs(1), out).exit_code == 0


def test_an_answer_that_was_lost_claims_the_folder(hosted, nightly, rotate, out):
    """Nothing has a request id yet: the history cannot be asked, and only a person can say whose the new key is."""
    hosted.faults([{"call": "submit", "action": "reset_after"}, NO_HISTORY])
    assert nightly(1)[0] == 4
    hosted.faults([])
    rotate()
    code, told, *calls = nightly(1)
    assert (code, calls) == (2, [0, 0])
    assert "--same-account" in told
    assert statuses(out) == {"unknown": 1}
    assert nightly(1, "--same-account")[0] == 0
    assert (statuses(out), submits(hosted)) == ({"saved": 1}, 1)


@pytest.mark.slow
def test_a_run_killed_while_its_first_submit_was_on_its_way_claims_the_folder(hosted, pairs, out):
    hosted.faults([{"call": "submit", "action": "delay", "after_s": 30.0}])
    with Command("run", pairs(1), "--out", out, env=support.environment(hosted)) as running:
        assert running.sees(lambda: hosted.stats(jobs=False)["accepted"] == 1), running.output
        running.signal(signal.SIGKILL)
    hosted.faults([])
    stranger = Service(*[hosted.base_url] * 3, api_key="another key")
    with pytest.raises(FolderError, match="--same-account"):
        run(pairs(1), RunSettings(out), stranger)
    assert go(hosted, pairs(1), out, settle_s=0.1).exit_code == 0
    assert submits(hosted) == 1


def test_a_local_folder_stays_local_and_a_paid_one_paid(hosted, command, drawn, out, tmp_path):
    assert command("run", drawn(1), "--out", out, "--local")[0] == 0
    assert command("run", drawn(1), "--out", tmp_path / "paid")[0] == 0
    code, _, told = command("run", drawn(1), "--out", out)
    assert (code, "or add --local" in told) == (2, True)
    code, _, told = command("run", drawn(1), "--out", tmp_path / "paid", "--local")
    assert (code, "Use another --out" in told) == (2, True)
    assert submits(hosted) == 1


# -- another key of the same account ----------------------------------------------------------------------------------


def test_a_rotated_key_is_known_by_what_it_knows_and_asked_about_once(hosted, nightly, rotate, out):
    assert nightly(2)[0] == 0
    rotate()
    assert nightly(3)[::2] == (0, 1)
    assert nightly(4)[2:] == (1, 0)  # remembered
    assert (statuses(out), hows(out)) == ({"saved": 4}, ["bound", "history"])


@pytest.mark.slow
def test_one_look_up_that_finds_a_request_is_enough(hosted, nightly, rotate):
    assert nightly(8)[0] == 0
    rotate()
    assert nightly(9)[2:] == (1, 1)


@pytest.mark.slow
def test_the_key_from_before_goes_on_working(hosted, nightly, rotate):
    before = hosted.api_key
    assert nightly(1)[0] == 0
    rotate()
    assert nightly(2)[0] == 0
    rotate(before)
    assert nightly(3)[2:] == (1, 0)


@pytest.mark.slow
def test_a_history_that_forgot_the_new_requests_is_asked_for_the_oldest_too(hosted, nightly, rotate):
    assert nightly(8)[0] == 0
    rotate()
    hosted.faults([{**KNOWS_NONE, "first": 3}])
    assert nightly(9)[2:] == (1, 4)


def test_what_is_paid_and_not_fetched_yet_is_not_asked_for_with_a_strangers_key(hosted, nightly, rotate, out):
    hosted.settings(latency_s=600.0)
    assert nightly(1, "--job-timeout", "0.3s")[0] == 7
    rotate()
    hosted.faults([KNOWS_NONE])
    assert nightly(1, "--job-timeout", "0.3s")[0] == 2
    hosted.faults([])
    assert nightly(1, "--job-timeout", "0.3s")[0] == 7
    assert (statuses(out), submits(hosted)) == ({"pending": 1}, 1)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("history", "said"),
    [
        pytest.param(KNOWS_NONE, "lists none of this folder's requests", id="it knows none"),
        pytest.param(NO_HISTORY, "is out of reach", id="out of reach"),
        pytest.param({"call": "history", "action": "garbage"}, "is out of reach", id="garbage"),
        pytest.param({"call": "history", "action": "status", "status": 403, "body": "<h1>Firewall</h1>"},
                     "is out of reach", id="a firewall"),
        pytest.param({"call": "history", "action": "status", "status": 200, "body": {"request_id": "another"}},
                     "is out of reach", id="another request"),
    ],
)  # fmt: skip
def test_a_key_that_nothing_is_known_of_sends_nothing_until_a_person_says_whose_it_is(
    hosted, nightly, rotate, out, history, said
):
    assert nightly(2)[0] == 0
    rotate()
    hosted.faults([history])
    code, told, sent, _ = nightly(3)
    assert (code, sent) == (2, 0)
    assert said in told
    assert "Give --same-account" in told
    assert "use another --out" in told
    assert nightly(3, "--same-account")[::2] == (0, 1)
    assert nightly(4)[2:] == (1, 0)  # remembered
    assert hows(out) == ["bound", "said"]


@pytest.mark.quick(1)
@pytest.mark.parametrize("text", ["wrong_key", "forbidden"])
def test_a_key_that_the_history_refuses_is_said_to_be_refused(hosted, nightly, out, monkeypatch, text):
    assert nightly(1)[0] == 0
    monkeypatch.setenv("SEGMIND_API_KEY", MISTYPED)
    if text == "forbidden":
        hosted.settings(api_key=MISTYPED)
        hosted.faults([{"call": "history", "action": "status", "text": text}])
    code, told, *_ = nightly(2)
    status = 401 if text == "wrong_key" else 403
    assert (code, f"The key was not accepted ({status}). Nothing was sent." in told) == (3, True)
    assert (statuses(out), hows(out)) == ({"saved": 1}, ["bound"])


@pytest.mark.slow
def test_a_signal_ends_the_asking_and_nothing_is_sent(hosted, nightly, rotate, pairs, out):
    assert nightly(1)[0] == 0
    rotate()
    hosted.faults([{"call": "history", "action": "no_answer"}])
    before = hosted.stats(jobs=False)["calls"]["history"]
    with Command("run", pairs(2), "--out", out, env=support.environment(hosted)) as running:
        assert running.sees(lambda: hosted.stats(jobs=False)["calls"]["history"] > before), running.output
        assert running.signal(signal.SIGINT) == 130, running.output
    assert (submits(hosted), statuses(out), hows(out)) == (1, {"saved": 1}, ["bound"])


def test_another_host_is_another_service_whatever_a_person_says(
    hosted, nightly, command, pairs, out, monkeypatch
):
    assert nightly(1)[0] == 0
    with LocalApi(**support.QUICK, api_key=hosted.api_key) as other:
        monkeypatch.setenv("SEGMIND_BASE_URL", other.base_url)
        code, _, told = command("run", pairs(2), "--out", out, "--same-account")
        assert (code, "belongs to" in told, submits(other)) == (2, True, 0)
        monkeypatch.setenv("SEGMIND_BASE_URL", hosted.base_url.replace("127.0.0.1", "LOCALHOST"))
        assert command("run", pairs(2), "--out", out)[0] == 2


@pytest.mark.quick(1)
@pytest.mark.parametrize("rotated", [False, True])
def test_a_folder_of_the_version_before_goes_on(hosted, nightly, rotate, out, rotated):
    """It knew one key, by the host as it was spelt."""
    account = service_of(hosted).account
    assert nightly(2)[0] == 0
    support.made_by(out, 1, service=f"{account.host.upper()} with key {account.key}")
    if rotated:
        rotate()
    assert nightly(2)[::2] == (0, 0)
    assert nightly(3)[2:] == (1, 1 if rotated else 0)
    with Ledger.read(out / "ledger.sqlite") as ledger:
        assert ledger.meta("service") == account.host
        assert accounts.keys(ledger)[0].fingerprint == account.key


@pytest.mark.slow
def test_a_folder_that_the_version_before_had_shut_is_open_again(hosted, nightly, command, out, monkeypatch):
    """It was bound to a mistyped key, and nothing was ever sent."""
    monkeypatch.setenv("SEGMIND_API_KEY", MISTYPED)
    assert nightly(2)[0] == 3
    host = service_of(hosted).account.host
    support.made_by(out, 1, service=f"{host} with key {Service(api_key=MISTYPED).account.key}")
    assert command("status", out)[0] == 0  # read as it is
    monkeypatch.setenv("SEGMIND_API_KEY", hosted.api_key)
    assert nightly(2)[0] == 0
    assert hows(out) == ["bound"]


@pytest.mark.slow
@pytest.mark.parametrize("paid", [True, False])
def test_a_local_folder_of_the_version_before_is_local_where_anything_ran(
    hosted, command, drawn, out, tmp_path, paid
):
    source = drawn(1) if paid else tmp_path / "missing.csv"
    assert command("run", source, "--out", out, "--local")[0] == (0 if paid else 2)
    support.made_by(out, 1, service="local")
    assert command("run", drawn(1), "--out", out)[0] == (2 if paid else 0)


@pytest.mark.slow
def test_a_paid_folder_of_the_version_before_is_not_free(hosted, nightly, out, rotate):
    assert nightly(1)[0] == 0
    account = service_of(hosted).account
    support.made_by(out, 1, service=f"{account.host} with key {account.key}")
    hosted.faults([KNOWS_NONE])
    rotate()
    assert nightly(2)[0] == 2


# -- nothing to do asks for nothing -----------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("key", ["", MISTYPED])
def test_a_run_with_nothing_to_do_needs_no_key(hosted, nightly, out, monkeypatch, key):
    assert nightly(2)[0] == 0
    monkeypatch.setenv("SEGMIND_API_KEY", key)
    before = hosted.stats(jobs=False)["calls"]
    assert nightly(2)[0] == 0
    assert nightly(1)[0] == 0  # a row less is no work either
    assert hosted.stats(jobs=False)["calls"] == before
    assert hows(out) == ["bound"]


@pytest.mark.slow
def test_without_key_and_hosts_a_run_with_nothing_to_do_is_fine(nightly, monkeypatch):
    assert nightly(2)[0] == 0
    monkeypatch.delenv("SEGMIND_API_KEY")
    monkeypatch.delenv("SEGMIND_BASE_URL")
    assert nightly(2)[0] == 0


def test_an_empty_manifest_needs_no_key(nightly, monkeypatch):
    monkeypatch.delenv("SEGMIND_API_KEY")
    assert nightly(0)[0] == 0


@pytest.mark.quick(1)
@pytest.mark.parametrize("folder", ["new", "known"])
def test_a_row_to_send_needs_a_key(hosted, nightly, out, monkeypatch, folder):
    if folder == "known":
        assert nightly(1)[0] == 0
    monkeypatch.delenv("SEGMIND_API_KEY")
    code, told, sent, _ = nightly(2)
    assert (code, sent) == (2, 0)
    assert "There is no API key" in told
    assert out.exists() is (folder == "known")


def test_the_library_says_that_there_is_no_key(api, pairs, out):
    with pytest.raises(UsageError, match="There is no API key"):
        run(pairs(1), RunSettings(out), Service(*[api.base_url] * 3))


def test_looking_at_a_folder_needs_no_key(nightly, command, out, monkeypatch):
    assert nightly(2)[0] == 0
    for name in ("SEGMIND_API_KEY", "SEGMIND_BASE_URL"):
        monkeypatch.delenv(name)
    for look in ("status", "report", "resolve"):
        assert command(look, out)[0] == 0
    assert command("resolve", out, "--reconcile")[0] == 0
    assert command("retry", out)[0] == 0


# -- a person's word --------------------------------------------------------------------------------------------------


@pytest.fixture
def strange(hosted, nightly, rotate):
    """A folder of a paid row, and a new key of which the history says nothing."""
    assert nightly(1)[0] == 0
    rotate()
    hosted.faults([KNOWS_NONE])


@pytest.mark.quick(1)
@pytest.mark.parametrize("spelt", ["same-account", "same_account"])
@pytest.mark.parametrize("value", ["true", "false", "yes"])
def test_a_job_file_cannot_say_it(strange, hosted, command, pairs, tmp_path, out, spelt, value):
    pairs(2)
    (tmp_path / "job.yaml").write_text(f"manifest: pairs.csv\nout: out\n{spelt}: {value}\n")
    before = submits(hosted)
    code, _, told = command("run", tmp_path / "job.yaml")
    assert (code, submits(hosted)) == (2, before)
    assert f"job.yaml:3:{spelt}" in told
    assert "give --same-account to the command" in told


@pytest.mark.quick(1)
@pytest.mark.parametrize("said", [["run"], ["retry"], ["resolve", "--reconcile"]], ids=lambda args: args[0])
def test_the_environment_cannot_say_it(strange, hosted, command, pairs, out, monkeypatch, said):
    monkeypatch.setenv("TEXBATCH_SAME_ACCOUNT", "1")
    first, *more = said
    before = submits(hosted)
    code, _, told = command(first, *([pairs(2), "--out", out] if first == "run" else [out]), *more)
    assert (code, submits(hosted)) == (2, before)
    assert "TEXBATCH_SAME_ACCOUNT" in told
    assert "--same-account" in told


@pytest.mark.slow
def test_a_job_file_runs_with_the_word_from_the_command_line(strange, command, pairs, tmp_path, out):
    pairs(2)
    (tmp_path / "job.yaml").write_text("manifest: pairs.csv\nout: out\n")
    assert command("run", tmp_path / "job.yaml")[0] == 2
    assert command("run", tmp_path / "job.yaml", "--same-account")[0] == 0
    assert statuses(out) == {"saved": 2}


@pytest.mark.slow
def test_retry_asks_whose_the_key_is_as_well(hosted, nightly, rotate, command, out):
    hosted.settings(blocked_words=["oak 1"])
    assert nightly(2)[0] == 1
    rotate()
    hosted.settings(blocked_words=[])
    hosted.faults([KNOWS_NONE])
    assert command("retry", out)[0] == 2
    assert command("retry", out, "--same-account")[0] == 0
    assert statuses(out) == {"saved": 2}


def test_another_accounts_history_proves_nothing_about_our_lost_submits(
    hosted, nightly, rotate, command, out
):
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert nightly(2)[0] == 4
    rotate()
    hosted.faults([KNOWS_NONE])
    for told in (nightly(2), nightly(3), command("resolve", out, "--reconcile", "--settle", "0s")):
        assert told[0] == 2
    assert (statuses(out), submits(hosted)) == ({"saved": 1, "unknown": 1}, 2)
    hosted.faults([])
    assert command("resolve", out, "--reconcile", "--settle", "0s")[0] == 0
    assert by_id(out)["row-1"]["request_id"]
    assert hows(out) == ["bound", "history"]


def test_the_word_without_a_question_is_refused(nightly, command, out):
    assert nightly(1)[0] == 0
    code, _, told = command("resolve", out, "--same-account")
    assert (code, "Give it with --reconcile" in told) == (2, True)


# -- what was taken out of the manifest -------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unknown_row_that_left_the_manifest_is_named_and_ends_with_4(hosted, nightly):
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert nightly(2)[0] == 4
    code, told, *_ = nightly(1)
    assert code == 4
    assert "row-1" in told
    assert "texbatch resolve" in told
    hosted.faults([])
    assert nightly(1)[0] == 0


@pytest.mark.slow
def test_an_unknown_row_that_has_changed_is_named_and_ends_with_4(hosted, command, tmp_path, out):
    manifest = write_csv(tmp_path / "pairs.csv", rows(2))
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert command("run", manifest, "--out", out)[0] == 4
    write_csv(manifest, [rows(2)[0], rows(2)[1] | {"prompt": "walnut"}])
    code, told, said = command("run", manifest, "--out", out, "--yes")
    assert code == 4
    assert "1 job that no row of this manifest wants any more, perhaps accepted" in said
    assert "job 2" in said
    assert "2 saved" in told


@pytest.mark.slow
def test_an_unknown_row_that_was_not_selected_still_ends_with_4(hosted, nightly):
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert nightly(2)[0] == 4
    assert nightly(2, "--only", "row-0")[0] == 4


@pytest.mark.slow
def test_a_paid_row_that_left_the_manifest_is_fetched_and_named_while_it_runs(hosted, nightly, out):
    hosted.settings(latency_s=600.0)
    assert nightly(1, "--job-timeout", "0.3s")[0] == 7
    hosted.settings(latency_s=0.01)
    manifest = [line | {"id": f"new-{n}"} for n, line in enumerate(rows(1, first=5))]
    write_csv(out.parent / "new.csv", manifest)
    end = go(hosted, out.parent / "new.csv", out, job_timeout_s=0.3)
    assert (end.exit_code, [stray.name for stray in end.strays]) == (7, ["row-0"])


@pytest.mark.slow
def test_a_log_for_machines_names_them_too(hosted, nightly):
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert nightly(2)[0] == 4
    code, told, *_ = nightly(1, "--log-format", "json", "--progress", "none")
    (ended,) = [json.loads(line) for line in told.splitlines() if '"run.ended"' in line]
    assert (code, ended["no_longer_wanted"]) == (4, ["row-1"])
