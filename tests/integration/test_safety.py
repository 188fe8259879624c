"""The person's safety: where the key goes, where names lead, who can read what, how much may come."""

import contextlib
import csv
import http.client
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import support
from support import by_id, go, rows, statuses, write_csv

from batch import FolderError, ManifestError, RunHooks, RunStopped
from batch.client.client import Client
from batch.core.config import Reading
from batch.planning.validate import validate
from batch.server import LocalApi, LocalProcess, placeholder_image

KEY = "SG_5ec4e7c0ffee5ec4"


@pytest.fixture
def keyed():
    """A server that takes one recognisable key."""
    with LocalApi(**support.QUICK, api_key=KEY) as api:
        yield api


@pytest.fixture
def there(keyed, tmp_path, monkeypatch):
    """Stand in the folder of the manifest, with that server as the hosted service."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGMIND_BASE_URL", keyed.base_url)
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)


@pytest.fixture
def elsewhere():
    """Another host: it keeps every request it hears, and answers by the path: /picture/…, /to/…, else 404."""

    class Host(BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append((self.command, self.path, dict(self.headers.items())))
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  the name http.server calls

        def log_message(self, *_):
            pass

    def answer(path):
        if path.startswith("/hop"):
            return 302, {"location": f"{url}/picture/x?signature=s3cret"}, b""
        if path.startswith("/loop"):
            return 302, {"location": f"{url}/loop"}, b""
        if path.startswith("/picture"):
            return (
                200,
                {"content-type": "image/webp"},
                placeholder_image({"prompt": "elsewhere", "image_format": "webp"}),
            )
        return 404, {}, b"nothing"

    heard = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield url, heard
        server.shutdown()
        thread.join()


def files_with(text, *folders):
    """Return every file below the folders that holds a text, as bytes or as its UTF-16."""
    wanted = (text.encode(), text.encode("utf-16-le"))
    return [
        str(path)
        for folder in folders
        for path in Path(folder).rglob("*")
        if path.is_file() and any(needle in path.read_bytes() for needle in wanted)
    ]


# -- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_is_in_no_file_and_nothing_that_is_said(keyed, there, command, tmp_path, out, monkeypatch):
    """A run with local pictures, a failure, a lost submit, a limit, everything told."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    support.picture(tmp_path / "chair.png")
    lines = [line | {"image_1": "chair.png"} for line in rows(6)]
    write_csv(tmp_path / "pairs.csv", lines)
    keyed.settings(blocked_words=["oak 1"])
    quoted = {"error": f"the key {KEY} may not do this"}  # a service that quotes what it refuses
    keyed.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 2", "first": 1},
            {"call": "submit", "action": "status", "status": 422, "body": quoted, "prompt": "oak 3"},
            {
                "call": "submit",
                "action": "status",
                "status": 502,
                "body": f"<p>{KEY}</p>",
                "prompt": "oak 4",
                "first": 1,
            },
            {
                "call": "status",
                "action": "status",
                "status": 400,
                "body": quoted,
                "prompt": "oak 5",
                "first": 1,
            },
            {"call": "credits", "action": "status", "status": 500, "body": quoted},
        ]
    )
    commands = (("run", "pairs.csv", "--out", "out", "-v", "--settle", "1s"), ("status", "out", "--json"),
                ("resolve", "out"), ("plan", "pairs.csv", "--out", "out"))  # fmt: skip
    said = ["".join(command(*args)[1:]) for args in commands]
    assert by_id(out)["row-3"]["error"] == "HTTP 422: the key [key] may not do this"
    assert "[key]" in said[0]
    assert KEY not in "".join(said)
    assert files_with(KEY, out, temporary) == []


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "status": 401, "body": {"error": f"{KEY} is not accepted"}},
        {"action": "status", "status": 404, "body": f"no model for {KEY}"},
        {"action": "status", "status": 406, "body": {"error": f"Insufficient credits for {KEY}"}},
    ],
    ids=lambda fault: str(fault["status"]),
)
def test_a_refusal_that_quotes_the_key_is_told_without_it(keyed, tmp_path, out, fault):
    keyed.faults([{"call": "submit", **fault}])
    end = go(keyed, write_csv(tmp_path / "pairs.csv", rows(2)), out)
    assert end.exit_code == 3
    assert ("[key]" in end.stopped, KEY in end.stopped) == (True, False)
    assert files_with(KEY, out) == []


def test_the_key_is_in_no_traceback_of_an_internal_error(keyed, there, command, tmp_path, out, monkeypatch):
    """A bug of ours, deep in a run, told in full."""
    write_csv(tmp_path / "pairs.csv", rows(2))

    async def broken(self, body):
        raise RuntimeError(f"{self!r} {self.service!r} {body}")

    with monkeypatch.context() as patches:
        patches.setattr(Client, "submit", broken)
        code, told, said = command("run", "pairs.csv", "--out", "out", "-v")
    assert (code, "RuntimeError" in said, "internal error" in said) == (70, True, True)
    assert KEY not in told + said
    assert files_with(KEY, out) == []
    assert go(keyed, tmp_path / "pairs.csv", out, settle_s=0.3).exit_code == 0


@pytest.mark.anyio
async def test_the_key_is_in_no_repr(keyed):
    service = support.service_of(keyed)
    async with Client(service) as client:
        told = [repr(client), repr(service), str(service), repr(keyed), repr(client.pace)]
        with contextlib.suppress(RunStopped):
            await client.credits()
    assert KEY not in "".join(told)
    assert KEY not in str(service.account)


def drawn(folder, count):
    """Write a manifest of rows that --local can draw."""
    support.picture(folder / "chair.png", size=(64, 48))
    support.picture(folder / "oak.png", "brown", size=(32, 32))
    lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(count)]
    write_csv(folder / "pairs.csv", lines)


@pytest.fixture
def children_seen():
    """Return what a process's children were given, so far: `children_seen(pid)`, command line and environment of each."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("the processes of this system cannot be looked at")
    seen = {}

    def look(pid):
        for child in _children(pid):
            with contextlib.suppress(OSError):
                place = Path("/proc") / str(child)
                seen[child] = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        return seen

    return look


def test_no_child_process_is_given_the_key(keyed, there, command, tmp_path, children_seen, monkeypatch):
    """--local starts a server and its worker; the key of the real service lies in our own environment."""
    drawn(tmp_path, 1)
    close = LocalProcess.close
    monkeypatch.setattr(LocalProcess, "close", lambda self: (children_seen(os.getpid()), close(self)))
    assert command("run", "pairs.csv", "--out", "out", "--local")[0] == 0
    seen = children_seen(os.getpid())
    assert len(seen) >= 2
    assert [child for child, told in seen.items() if KEY.encode() in told] == []
    assert files_with(KEY, tmp_path / "out") == []


@pytest.mark.slow
def test_no_child_of_the_real_command_is_given_the_key(tmp_path, keyed, children_seen):
    """Looked at all the time."""
    drawn(tmp_path, 12)
    command = support.Command(
        "run", "pairs.csv", "--out", "out", "--local", "-v", env=support.environment(keyed), cwd=tmp_path
    )
    while command.running:
        children_seen(command.pid)
        time.sleep(0.02)
    assert command.end() == 0, command.output
    seen = children_seen(command.pid)
    assert len(seen) >= 1
    assert [child for child, told in seen.items() if KEY.encode() in told] == []
    assert files_with(KEY, tmp_path / "out") == []


def _children(pid):
    """Return the processes below a process."""
    found, waiting = [], [pid]
    while waiting:
        for tasks in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                own = [int(child) for child in tasks.read_text().split()]
                found += own
                waiting += own
    return found


@pytest.mark.slow
def test_a_picture_on_another_host_is_fetched_without_the_key(keyed, tmp_path, out, elsewhere):
    """Also over redirects, from there and from our own host to there."""
    url, heard = elsewhere
    for number, target in enumerate(("/picture/a?signature=s3cret", "/hop")):
        keyed.faults([_result(f"oak {number}", url + target) for number in range(2)])
        folder = out / str(number)
        end = go(keyed, write_csv(tmp_path / "pairs.csv", rows(2)), folder)
        assert (end.exit_code, statuses(folder)) == (0, {"saved": 2})
    assert {path.partition("?")[0] for _, path, _ in heard} == {"/picture/a", "/hop", "/picture/x"}
    assert [headers for _, _, headers in heard if KEY in str(headers)] == []
    assert {name.lower() for _, _, headers in heard for name in headers} <= {
        "host", "accept", "accept-encoding", "connection", "user-agent",
    }  # fmt: skip
    assert keyed.stats(jobs=False)["files_with_key"] == 0


def _result(prompt, url):
    return {"call": "result", "action": "status", "status": 200, "prompt": prompt,
            "body": {"status": "COMPLETED", "output": url, "metrics": {"cost": 0.03}}}  # fmt: skip


@pytest.mark.slow
def test_a_picture_that_is_redirected_for_ever_ends(keyed, tmp_path, out, elsewhere):
    url, heard = elsewhere
    keyed.faults([_result("oak 0", f"{url}/loop")])
    end = go(keyed, write_csv(tmp_path / "pairs.csv", rows(1)), out, job_timeout_s=0.5)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 1})  # the history names the URL that gives it
    assert len(heard) < 60


@pytest.mark.quick(1)
@pytest.mark.parametrize("call", ["submit", "status", "result", "credits", "history", "upload"])
@pytest.mark.parametrize(
    "status", [307, pytest.param(302, marks=pytest.mark.slow), pytest.param(308, marks=pytest.mark.slow)]
)
def test_no_redirect_of_the_service_is_followed_with_the_key(
    keyed, tmp_path, out, elsewhere, call, status, waits
):
    url, heard = elsewhere
    waits(history_tries=1, upload_tries=1)
    support.picture(tmp_path / "chair.png")
    redirect = {
        "call": call,
        "action": "status",
        "status": status,
        "body": "",
        "headers": {"location": f"{url}/x"},
    }
    lost = [{"call": "submit", "action": "reset_after", "first": 1}] if call == "history" else []
    keyed.faults([redirect, *lost])
    lines = [line | {"image_1": "chair.png"} for line in rows(2)]
    go(keyed, write_csv(tmp_path / "pairs.csv", lines), out, job_timeout_s=0.4, settle_s=0.1)
    assert keyed.stats(jobs=False)["calls"][call] > 0
    assert heard == []


def test_the_urls_in_an_answer_are_not_followed_with_the_key(tmp_path, out, elsewhere):
    url, heard = elsewhere
    with LocalApi(**support.QUICK, api_key=KEY, poll_base_url=url) as api:
        assert go(api, write_csv(tmp_path / "pairs.csv", rows(2)), out).exit_code == 0
    assert heard == []


def test_a_request_id_cannot_lead_a_poll_elsewhere(keyed, tmp_path, out, elsewhere):
    """It is data in a path of our own host, whatever is in it."""
    url, heard = elsewhere
    odd = f"../../{url}/picture?x=1#"
    keyed.faults([{"call": "submit", "action": "status", "status": 200, "body": {"request_id": odd}}])
    go(keyed, write_csv(tmp_path / "pairs.csv", rows(1)), out, job_timeout_s=0.4)
    assert heard == []
    assert by_id(out)["row-0"]["request_id"] == odd


def test_input_images_are_not_fetched_by_us(keyed, tmp_path, out, elsewhere):
    url, heard = elsewhere
    lines = [line | {"image_1": f"{url}/picture/chair"} for line in rows(1)]
    assert go(keyed, write_csv(tmp_path / "pairs.csv", lines), out).exit_code == 0
    assert heard == []


# -- names ------------------------------------------------------------------------------------------------------------

EVIL = [
    "../escaped",
    "/tmp/escaped",
    "a/../../escaped",
    "..",
    "CON",
    "a/./b",
    ".previous/x",
    "a\\..\\b",
    "a\0b",
    "~/x/../../y",
]


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", EVIL)
def test_a_name_that_leads_out_of_the_folder_is_refused_before_anything_is_sent(api, tmp_path, out, name):
    manifest = write_csv(tmp_path / "pairs.csv", [rows(1)[0] | {"id": name}])
    before = sorted(path.name for path in tmp_path.iterdir())
    with contextlib.suppress(ManifestError):
        end = go(api, manifest, out)
        assert end.exit_code == 0  # a name that is no trouble after all …
    assert sorted(path.name for path in tmp_path.iterdir() if path != out) == before
    inside = (out / "images").resolve()
    assert all(path.resolve().is_relative_to(inside) for path in inside.rglob("*")) or not inside.exists()


@pytest.mark.parametrize("template", ["../{id}.{ext}", "/tmp/{id}.{ext}", "{prompt}/../../{id}.{ext}"])
def test_a_template_cannot_lead_out_of_the_folder(api, tmp_path, out, template):
    with pytest.raises(ManifestError):
        go(api, write_csv(tmp_path / "pairs.csv", rows(1)), out, name=template)
    assert api.stats(jobs=False)["accepted"] == 0


def test_a_link_inside_the_folder_leads_nothing_out_and_is_found_before_paying(api, tmp_path, out):
    (tmp_path / "outside").mkdir()
    (out / "images").mkdir(parents=True)
    (out / "images" / "sub").symlink_to(tmp_path / "outside")
    manifest = write_csv(tmp_path / "pairs.csv", rows(2))
    with pytest.raises((FolderError, ManifestError), match="leads out of the output folder"):
        go(api, manifest, out, name="sub/deep/{id}.{ext}")
    assert list((tmp_path / "outside").iterdir()) == []
    assert api.stats(jobs=False)["accepted"] == 0


@pytest.mark.quick(1)
@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_in_a_pictures_place_is_not_written_through(api, tmp_path, out, dangling):
    target = tmp_path / "precious"
    if not dangling:
        target.write_text("mine")
    manifest = write_csv(tmp_path / "pairs.csv", rows(1))
    go(api, manifest, out)
    picture = out / "images" / "row-0.webp"
    picture.unlink()
    picture.symlink_to(target)
    write_csv(manifest, [rows(1)[0] | {"prompt": "walnut"}])
    with contextlib.suppress(ManifestError):
        go(api, manifest, out, yes=True)
    assert (target.exists(), not dangling and target.read_text() == "mine") == (not dangling, not dangling)


# -- what a manifest can do -------------------------------------------------------------------------------------------


def test_yaml_aliases_are_bounded_in_time_and_memory(tmp_path):
    """Ten levels of ten: ten thousand million cells, refused within a second and a few megabytes."""
    levels = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 10)]
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("x0: &x0 [a, b, c]\n" + "\n".join(levels) + "\nrows: *x9\n")
    tracemalloc.start()
    began = time.thread_time()  # others may have the machine
    found = validate(bomb, Reading())
    took, (_, most) = time.thread_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.errors
    assert took < 10
    assert most < 100_000_000


def test_a_matrix_that_explodes_is_refused(tmp_path):
    axes = "\n".join(f"  a{n}: [{', '.join(map(str, range(50)))}]" for n in range(6))
    manifest = tmp_path / "wide.yaml"
    manifest.write_text(
        f"defaults: {{prompt: x, image_1: {support.PRODUCT}, image_2: {support.TEXTURE}}}\nmatrix:\n{axes}\n"
    )
    began = time.thread_time()
    assert validate(manifest, Reading()).errors
    assert time.thread_time() - began < 30


FORMULAS = [
    "=1+1",
    "+1+cmd|'/c calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "'=quoted",
    "'",
    "-5",
    "+49",
    '=HYPERLINK("http://x")',
]


def test_formulas_are_neutralised_in_every_file_and_come_back_as_they_were(hosted, command, tmp_path, out):
    hosted.settings(blocked_words=["=", "+", "-", "@"])
    lines = [line | {"note": text, "prompt": text.strip() or "x", "id": f"r{n}"}
             for n, (line, text) in enumerate(zip(rows(len(FORMULAS)), FORMULAS, strict=True))]  # fmt: skip
    assert command("run", write_csv(tmp_path / "pairs.csv", lines), "--out", out)[0] == 1
    for name in ("report.csv", "failures.csv"):
        with (out / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert [cell for cell in cells if cell[:1] in "=@\t\r" and cell] == []
        assert [cell for cell in cells if cell[:1] in "+-" and cell and not _is_number(cell)] == []
    hosted.settings(blocked_words=[])
    before = {row["id"]: row["note"] for row in support.report(out)}
    assert command("retry", out)[0] == 0
    assert {row["id"]: row["note"] for row in support.report(out)} == before
    sent = {job["prompt"] for job in hosted.stats()["jobs"]}
    assert sent == {text.strip() or "x" for text in FORMULAS}


def _is_number(text):
    with contextlib.suppress(ValueError):
        return float(text) is not None
    return False


# -- who can read what ------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_what_holds_prompts_and_urls_is_its_users_alone_whatever_the_umask(api, tmp_path, out, mask):
    modes = {}

    def look(_):
        for path in out.iterdir():
            if path.is_file():
                with contextlib.suppress(OSError):
                    modes[path.name] = stat.S_IMODE(path.stat().st_mode)

    manifest = write_csv(tmp_path / "pairs.csv", rows(3))
    old = os.umask(mask)
    try:
        go(api, manifest, out, listener=RunHooks(progress=look))
    finally:
        os.umask(old)
    look(None)
    wanted = {
        "ledger.sqlite",
        "ledger.sqlite-wal",
        "ledger.sqlite-shm",
        "report.csv",
        "failures.csv",
        "summary.json",
    }
    assert wanted <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::2]", ""]
)
def test_the_local_server_answers_to_its_own_names_only(keyed, host):
    assert _ask(keyed, "/v1/get-user-credits", {"Host": host, "x-api-key": KEY}) == 421


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x", KEY.lower()])
def test_the_local_server_needs_its_key(keyed, key):
    headers = {} if key is None else {"x-api-key": key}
    for path in ("/v1/get-user-credits", "/_local/stats", "/_local/settings", "/_local/faults"):
        assert _ask(keyed, path, headers) == 401


def _ask(api, path, headers):
    connection = http.client.HTTPConnection(urlsplit(api.base_url).netloc, timeout=10)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status


# -- how much may come ------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            {"call": "image", "action": "endless", "size_bytes": 300_000_000}, id="picture over 64 MiB"
        ),
        pytest.param({"call": "status", "action": "huge", "size_bytes": 30_000_000}, id="status over 2 MiB"),
        pytest.param({"call": "status", "action": "endless", "size_bytes": 300_000_000}, id="endless status"),
    ],
)
def test_an_answer_that_is_too_large_is_dropped_when_it_is(api, tmp_path, out, fault):
    """Once, and asked again; what was read of it never grew far beyond the limit."""
    api.faults([{**fault, "prompt": "oak 1", "nth": 1}])
    end = go(api, write_csv(tmp_path / "pairs.csv", rows(2)), out)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 2})


@pytest.mark.slow
def test_a_submit_answered_by_megabytes_is_of_unknown_fate_and_found(api, tmp_path, out):
    api.faults([{"call": "submit", "action": "huge", "prompt": "oak 1", "first": 1}])
    end = go(api, write_csv(tmp_path / "pairs.csv", rows(2)), out, settle_s=0.2)
    assert (end.exit_code, api.stats(jobs=False)["accepted"]) == (0, 2)


# -- our own house ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_leaves_no_warning_in_development_mode(tmp_path, keyed, out):
    """No resource left open, no coroutine left unawaited: saved, failed, throttled, lost and local pictures."""
    support.picture(tmp_path / "chair.png")
    write_csv(tmp_path / "pairs.csv", [line | {"image_1": "chair.png"} for line in rows(5)])
    keyed.settings(blocked_words=["oak 1"])
    keyed.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 2", "first": 1},
            {"call": "submit", "action": "status", "text": "rate_limit", "nth": 3, "reset_in_s": 0.1},
            {"call": "image", "action": "truncated", "prompt": "oak 3", "first": 1},
        ]
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "batch", "run", "pairs.csv", "--out", "out",
         "--settle", "1s", "--progress", "none"],
        check=False, env=support.environment(keyed), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    for trouble in ("Warning", "Traceback", "Exception ignored", "never awaited", "retry_scheduled"):
        assert trouble not in done.stderr, done.stderr
