"""The server as a process: quick to be ready, and nothing of it is left however it ends."""

import base64
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from local_helpers import Client, body, get, wait_until

from batch.server import LocalApi, LocalError, LocalProcess, LocalSettings
from batch.server.simulation.files import PREFIX
from batch.server.subprocesses import ROOT

SAMPLES = ROOT / "samples"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Give each test a temporary folder of its own, for its children too."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def alive(pid):
    """Return whether a process runs; one that ended and was not waited for does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def children(pid):
    done = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


def folders(temporary):
    return [path for path in temporary.iterdir() if path.name.startswith(PREFIX)]


def submit_real(client, base_url):
    """Submit a job that needs a worker process."""
    images = [SAMPLES / "products/armchair.jpg", SAMPLES / "textures/oak.jpg"]
    urls = [f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in images]
    files = client.post("/upload-asset", json={"data_urls": urls}).json()["file_urls"]
    assert all(url.startswith(base_url) for url in files)
    return client.submit(image_1=files[0], image_2=files[1])


def test_the_process_is_ready_within_a_second_and_leaves_nothing(temporary, capfd):
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    with LocalProcess(LocalSettings(engine="placeholder")) as api:
        assert folders(temporary)
        with Client(api) as client:
            client.ended(client.submit())
        pid = api.pid
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # its processor time: others may have the machine
    assert ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime < 2  # 0.3 s on an idle machine
    assert not alive(pid)
    assert folders(temporary) == []
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_key_of_the_service_is_not_handed_to_the_process(monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_the_real_one")
    with LocalProcess(engine="placeholder") as api:
        assert re.fullmatch(r"SG_[0-9a-f]{16}", api.api_key)
        environment = Path(f"/proc/{api.pid}/environ")
        if environment.exists():
            assert b"SG_the_real_one" not in environment.read_bytes()
        command = subprocess.run(
            ["ps", "-o", "args=", "-p", str(api.pid)], capture_output=True, text=True, check=True
        )
        assert api.api_key not in command.stdout


@pytest.mark.slow
def test_the_key_can_be_given(capfd):
    with LocalProcess(engine="placeholder", api_key="SG_mine") as api:
        assert api.api_key == "SG_mine"
        assert api.stats()["accepted"] == 0
        assert "SG_mine" not in repr(api)
    assert "SG_mine" not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_the_module_speaks_its_protocol():
    """Settings on the first line, one ready line, and the end of stdin is the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "batch.server"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        process.stdin.write('{"engine": "placeholder", "api_key": "SG_mine"}\n')
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        answer = get(ready["url"] + "/v1/get-user-credits", headers={"x-api-key": "SG_mine"})
        assert answer.json()["credits"] == 1000
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(temporary, signum):
    with LocalProcess(engine="placeholder", latency="fixed", latency_s=60) as api:
        with Client(api) as client:
            client.submit()
        os.kill(api.pid, signum)
        assert api._process.wait(60) == 0
    assert folders(temporary) == []


PARENT = """
import sys, time
from batch.server import LocalProcess
api = LocalProcess(engine="{engine}")
print(api.base_url, api.api_key, api.pid, flush=True)
time.sleep(60)
"""


def start_parent(engine):
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(engine=engine)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    url, key, pid = process.stdout.readline().split()
    held = LocalApi.__new__(LocalApi)  # the controls only, for a server that somebody else holds
    held.base_url, held.api_key = url, key
    return process, held, int(pid)


def test_a_killed_parent_leaves_no_server_no_worker_and_no_folder(temporary):
    """kill -9 of the parent while a worker process draws."""
    parent, api, pid = start_parent("cpu")
    with parent, Client(api) as client:
        submit_real(client, api.base_url)
        workers = wait_until(lambda: children(pid))
        parent.kill()
        wait_until(lambda: not any(alive(each) for each in (pid, *workers)), 5)
    wait_until(lambda: not folders(temporary))


@pytest.mark.slow
def test_a_killed_server_takes_its_workers_along_and_its_folder_is_swept(temporary):
    with LocalProcess() as api:
        with Client(api) as client:
            client.ended(submit_real(client, api.base_url))
        workers = children(api.pid)
        assert workers
        os.kill(api.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(alive, workers)), 5)
    assert len(folders(temporary)) == 1
    with LocalApi(engine="placeholder"):
        assert len(folders(temporary)) == 1
    assert folders(temporary) == []


def test_a_killed_worker_fails_its_job_only():
    with LocalProcess(workers=1) as api, Client(api) as client:
        client.ended(submit_real(client, api.base_url))
        (worker,) = children(api.pid)
        request_id = submit_real(client, api.base_url)
        os.kill(worker, signal.SIGKILL)
        assert client.ended(request_id).json()["error"] == "the worker died while the image was made"
        assert client.ended(submit_real(client, api.base_url)).json()["status"] == "COMPLETED"


def test_settings_that_are_refused_end_it_with_a_reason(capfd):
    process = subprocess.run(
        [sys.executable, "-m", "batch.server"],
        cwd=ROOT,
        input='{"prot": 1}\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert "prot: no such setting. Did you mean port?" in process.stderr
    with pytest.raises(LocalError, match="exit code 2"):
        LocalProcess(engine="placeholder", faults=({"call": "submit"},))
    assert "faults[0].action: missing." in capfd.readouterr().err


def test_a_port_that_is_taken_is_an_error_of_whoever_starts():
    with LocalApi(engine="placeholder") as api:
        port = int(api.base_url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            LocalApi(engine="placeholder", port=port)


def test_a_server_that_ends_before_it_is_up_is_an_error_of_whoever_starts(monkeypatch):
    """And nobody waits for it for ever."""

    async def ends_at_once(*_args):
        return None

    monkeypatch.setattr("batch.server.serving.run", ends_at_once)
    with pytest.raises(LocalError, match="before it was up"):
        LocalApi(engine="placeholder")


def test_a_folder_full_of_traps_does_not_reach_the_server(temporary, monkeypatch):
    """Whoever starts it may stand where a json.py or a batch/ lies."""
    (temporary / "json.py").write_text("raise SystemExit('the wrong json')")
    (temporary / "batch").mkdir()
    (temporary / "batch" / "__init__.py").write_text("raise SystemExit('the wrong batch')")
    monkeypatch.chdir(temporary)
    with LocalProcess(engine="placeholder") as api:
        assert api.stats()["accepted"] == 0


def test_it_listens_on_this_machine_only():
    with LocalApi(engine="placeholder") as api:
        assert api.base_url.startswith("http://127.0.0.1:")
        with Client(api) as client:
            assert client.post("/v1/unknown", json=body()).status_code == 404
        with socket.socket() as elsewhere:  # another address of this very machine
            elsewhere.settimeout(2)
            assert elsewhere.connect_ex(("127.0.0.2", int(api.base_url.rpartition(":")[2]))) != 0


SERVE = """
from batch.server import LocalSettings, serve
serve(LocalSettings(engine="placeholder", api_key="SG_mine"), lambda url, key: print(url, key, flush=True))
"""


@pytest.mark.slow
def test_serve_runs_in_the_foreground_until_a_signal(temporary):
    """What `texbatch serve` does: its stdin means nothing, Ctrl-C ends it cleanly."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    with process:
        url, key = process.stdout.readline().split()
        assert get(url + "/v1/get-user-credits", headers={"x-api-key": key}).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert folders(temporary) == []


PLUGIN_TEST = """
import httpx

def test_it(local_api):
    answer = httpx.get(local_api.base_url + "/v1/get-user-credits", headers={"x-api-key": local_api.api_key})
    assert answer.json()["credits"] == local_api.settings()["balance_usd"]
"""


@pytest.mark.slow
def test_the_pytest_fixture_gives_a_running_server(temporary):
    (temporary / "test_plugin.py").write_text(PLUGIN_TEST)
    slow_to_load = ("-p", "no:schemathesis", "-p", "no:hypothesispytest")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *slow_to_load]
    done = subprocess.run(
        [*command, "--rootdir", str(temporary), str(temporary)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout
