"""A client and the small change of the tests of the local service."""

import base64
import time

import httpx

from batch.core.parameters import MODEL
from batch.server.subprocesses import ROOT

SUBMIT = f"/v2/{MODEL}"
CHAIR = ROOT / "samples/products/armchair.jpg"
OAK = ROOT / "samples/textures/oak.jpg"


def data_url(path):
    """Return a JPEG file as a data URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def body(prompt="Apply oak", **more):
    """Return a request body with images nobody fetches."""
    return {"prompt": prompt, "image_1": "https://e.com/1.jpg", "image_2": "https://e.com/2.jpg", **more}


def wait_until(holds, seconds=60.0):
    """Wait until `holds()` is true, and give what it returned."""
    deadline = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return value


def get(url, **more):
    """Ask once, without a key. Reading the certificates that this machine trusts would take 20 ms each time."""
    return httpx.get(url, verify=False, **more)


class Client(httpx.Client):
    """A client with the key, and the few calls every test makes."""

    def __init__(self, api):
        super().__init__(
            base_url=api.base_url,
            headers={"x-api-key": api.api_key},
            timeout=60,
            trust_env=False,
            verify=False,  # as for `get`
        )

    def submit(self, prompt="Apply oak", **more):
        """Submit and return the request id."""
        answer = self.post(SUBMIT, json=body(prompt, **more))
        assert answer.status_code == 200, answer.text
        return answer.json()["request_id"]

    def status(self, request_id):
        """Poll once."""
        return self.get(f"/v2/requests/{request_id}/status")

    def ended(self, request_id):
        """Poll until the job has ended and return that answer."""
        return wait_until(
            lambda: (
                answer
                if (answer := self.status(request_id)).json()["status"] in ("COMPLETED", "FAILED")
                else None
            )
        )

    def result(self, request_id):
        """Return the answer of the result call."""
        return self.get(f"/v2/requests/{request_id}")
