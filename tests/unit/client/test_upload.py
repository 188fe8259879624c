"""Local images: uploaded once per content, reused for a day, a refusal shared by all who wait."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from PIL import Image

from batch.client.client import Client
from batch.core.config import Backoff, Rate, Timeouts
from batch.core.errors import NoResponse, NotDelivered, RunStopped, ServiceError, UnusableResponse
from batch.execution import upload
from batch.execution.upload import PROBE_PNG, Uploader
from batch.execution.upload_links import LinkUploader
from batch.ledger.async_ledger import open_async_ledger
from batch.manifest.input_images import ImageError
from batch.pacing import limiter
from batch.pacing.limiter import Limiter

pytestmark = pytest.mark.anyio

PATH = Path("/in/chair.jpg")
DAY_S = 24 * 3600


def load(_path, _sha256):
    return "data:image/jpeg;base64,anBlZw=="


class Sender:
    """Stands for the client: counts uploads, each answered when the test says so."""

    def __init__(self, clock):
        self.clock = clock
        self.timeouts = Timeouts(no_answer=Backoff(0.0, 30.0))
        self.sent = []
        self.begun = anyio.Event()
        self.answers = []
        self.released = anyio.Event()
        self.released.set()

    async def upload(self, data_urls):
        self.sent.append(data_urls)
        self.begun.set()
        await self.released.wait()
        answer = self.answers.pop(0) if self.answers else f"https://u/{len(self.sent)}"
        if isinstance(answer, Exception):
            raise answer
        return [answer]


@pytest.fixture
async def sender(anyio_backend, clock):
    return Sender(clock)


@pytest.fixture
async def uploads(book, sender):
    async with open_async_ledger(book.ledger) as desk:
        yield Uploader(sender, desk, load)


async def ask(uploads, ends, sha256="11"):
    try:
        ends.append(await uploads.url(sha256, PATH))
    except (ServiceError, NoResponse, RunStopped, ValueError) as exc:
        ends.append(exc)


async def together(uploads, sender, count, sha256="11"):
    """Ask `count` times at once, and let the answer come when all are waiting."""
    ends, sender.released = [], anyio.Event()
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(ask, uploads, ends, sha256)
        await sender.begun.wait()
        await wait_all_tasks_blocked()
        sender.released.set()
    return ends


async def test_one_content_is_uploaded_once_however_many_ask(uploads, sender):
    assert await together(uploads, sender, 20) == ["https://u/1"] * 20
    assert sender.sent == [[load(PATH, "11")]]


async def test_each_content_is_uploaded_for_itself(uploads, sender):
    assert [await uploads.url(sha, PATH) for sha in ("11", "22", "11")] == [
        "https://u/1",
        "https://u/2",
        "https://u/1",
    ]


@pytest.mark.parametrize(
    ("later", "uploaded"),
    [(0, 1), (DAY_S - 1, 1), (DAY_S + 1, 2)],
    ids=["now", "within a day", "after a day"],
)
async def test_an_upload_is_reused_for_a_day_also_by_the_next_run(
    book, uploads, sender, clock, later, uploaded
):
    assert upload.UPLOAD_REUSE_S == DAY_S
    await uploads.url("11", PATH)
    clock.now += later
    async with open_async_ledger(book.ledger) as desk:
        await Uploader(sender, desk, load).url("11", PATH)
    assert uploaded == len(sender.sent)


@pytest.mark.parametrize("failure", [ServiceError("refused"), RunStopped("key")], ids=["refused", "key"])
async def test_a_refusal_reaches_all_who_wait_and_is_asked_once(uploads, sender, failure):
    sender.answers = [failure]
    assert await together(uploads, sender, 5) == [failure] * 5
    assert len(sender.sent) == 1


async def test_a_refusal_is_not_remembered(uploads, sender):
    sender.answers = [ServiceError("refused")]
    await together(uploads, sender, 2)
    assert await uploads.url("11", PATH) == "https://u/2"


# -- whose fault it is -------------------------------------------------------------------------------------------------

CUT, TAKEN, REFUSED = NoResponse("cut"), "https://u/speck", ServiceError("no such picture, please")


async def test_no_answer_is_tried_again_while_another_picture_is_taken(uploads, sender):
    sender.answers = [CUT, TAKEN, CUT, TAKEN]
    assert await uploads.url("11", PATH) == "https://u/5"
    assert [sent == [PROBE_PNG] for sent in sender.sent] == [False, True, False, True, False]


@pytest.mark.parametrize("speck", [TAKEN, REFUSED], ids=["taken", "refused: an answer as well"])
async def test_a_picture_that_gets_no_answer_while_another_does_is_at_fault_itself(uploads, sender, speck):
    sender.answers = [CUT, speck] * Timeouts().upload_tries
    with pytest.raises(ServiceError, match=r"tried 6 times, while another image was taken: cut"):
        await uploads.url("11", PATH)
    assert len(sender.sent) == 2 * Timeouts().upload_tries


async def test_where_no_picture_gets_an_answer_the_host_is_at_fault(uploads, sender):
    sender.answers = [CUT, TAKEN, CUT, CUT]
    with pytest.raises(NoResponse):
        await uploads.url("11", PATH)
    assert await uploads.url("11", PATH) == "https://u/5"


async def test_no_connection_is_never_a_pictures_fault_and_is_not_tried_again_here(uploads, sender):
    sender.answers = [NotDelivered("no connection")]
    with pytest.raises(NotDelivered):
        await uploads.url("11", PATH)
    assert len(sender.sent) == 1


async def test_a_refused_key_is_told_also_when_the_speck_hears_of_it(uploads, sender):
    sender.answers = [CUT, RunStopped("key")]
    with pytest.raises(RunStopped):
        await uploads.url("11", PATH)


def test_the_speck_is_a_whole_picture():
    head, _, data = PROBE_PNG.partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as speck:
        speck.load()
        assert (speck.format, speck.size) == ("PNG", (1, 1))


async def test_a_file_that_went_bad_fails_its_own_row_and_the_next_tries_its_own_file(book, sender):
    def load_unless_gone(path, sha256):
        if path == PATH:
            raise ValueError("gone")
        return load(path, sha256)

    async with open_async_ledger(book.ledger) as desk:
        uploads = Uploader(sender, desk, load_unless_gone)
        with pytest.raises(ValueError, match=r"gone"):
            await uploads.url("11", PATH)
        assert await uploads.url("11", Path("/in/copy.jpg")) == "https://u/1"


async def test_when_the_uploader_is_cancelled_the_next_one_uploads(uploads, sender):
    ends, sender.released = [], anyio.Event()
    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as first:
            first.start_soon(ask, uploads, ends)
            await sender.begun.wait()
            outer.start_soon(ask, uploads, ends)
            await wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        sender.released.set()
    assert ends == ["https://u/2"]


# -- the call itself, on a socket --------------------------------------------------------------------------------------


async def test_an_upload_carries_the_key_and_the_pictures(server):
    server.handle = lambda call: call.answer(
        200, {"file_urls": ["https://u/1", "https://u/2"], "message": "ok"}
    )
    async with Client(server.service) as client:
        assert await client.upload(["data:a", "data:b"]) == ["https://u/1", "https://u/2"]
    (call,) = server.calls
    assert call.line == "POST /upload-asset HTTP/1.1"
    assert json.loads(call.body) == {"data_urls": ["data:a", "data:b"]}
    assert "x-api-key" in call.headers


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(401, {"error": "x"}, RunStopped, id="401"),
        pytest.param(403, {"error": "x"}, RunStopped, id="403"),
        pytest.param(413, {"error": "too large"}, ServiceError, id="413"),
        pytest.param(500, {"error": "x"}, NoResponse, id="500"),
        pytest.param(502, b"<html>", NoResponse, id="502"),
        pytest.param(200, b"<html>", NoResponse, id="not JSON"),
        pytest.param(200, {"file_urls": []}, ServiceError, id="too few URLs"),
        pytest.param(200, {"file_urls": ["a", "b"]}, ServiceError, id="too many URLs"),
        pytest.param(200, {"file_urls": [None]}, ServiceError, id="no text"),
        pytest.param(200, {"file_urls": "a"}, ServiceError, id="no list"),
    ],
)
async def test_what_an_upload_can_be_answered(server, status, body, error):
    server.handle = lambda call: call.answer(status, body)
    async with Client(server.service) as client:
        with pytest.raises(error):
            await client.upload(["data:a"])


async def test_an_upload_without_an_answer_names_the_host_and_one_with_an_answer_shows_it_is_there(server):
    async def answer_the_second(call):
        if len(server.calls) == 1:
            await call.answer(503, b"<html>")
        else:
            await call.answer(200, {"file_urls": ["https://u/1"]})

    server.handle = answer_the_second
    async with Client(server.service) as client:
        assert client.pace.unreachable() == 1
        with pytest.raises(NoResponse, match=server.url):
            await client.upload(["data:a"])
        await anyio.sleep_until(client.pace.gate.opens_at)
        assert client.pace.unreachable() == 2
        await client.upload(["data:a"])
        await anyio.sleep_until(client.pace.gate.opens_at)
        assert client.pace.unreachable() == 1


async def test_a_429_on_an_upload_takes_no_turn_of_a_submit(server, waits):
    """One submit an hour: an upload that waits for the gate must not use it up."""
    waits(probe_s=0.01)

    async def busy(call):
        answers = (429, {}), (200, {"file_urls": ["https://u/1"]})
        await call.answer(*answers[len(server.calls) > 1])

    server.handle = busy
    async with Client(
        server.service, pace=Limiter(1, limiter.RateGate(Rate(1, 3600.0), timeouts=server.service.timeouts))
    ) as client:
        await client.upload(["data:a"])
        with anyio.fail_after(60):
            async with client.pace.acquire(limiter.Priority.SUBMIT):
                pass


async def test_a_429_on_an_upload_is_waited_out_at_the_gate_and_fails_no_row(server, waits):
    """More often than an upload is tried: a rate limit is no failure of the row."""
    waits(probe_s=0.01)

    async def busy(call):
        if len(server.calls) <= Timeouts().upload_tries + 2:
            await call.answer(429, {"error": "slow down"})
        else:
            await call.answer(200, {"file_urls": ["https://u/1"]})

    server.handle = busy
    async with Client(server.service) as client:
        with anyio.fail_after(60):
            assert await client.upload(["data:a"]) == ["https://u/1"]
        assert client.pace.gate.throttles == Timeouts().upload_tries + 2


# -- links that this machine fetches -----------------------------------------------------------------------------------


@pytest.fixture
def links(uploads, sender):
    sender.downloads, sender.found = [], []

    async def download(link):
        sender.downloads.append(link)
        found = sender.found.pop(0) if sender.found else b"image"
        if isinstance(found, Exception):
            raise found
        return found

    sender.download = download
    sender.timeouts = replace(sender.timeouts, upload_tries=3)
    return LinkUploader(uploads, "private")


NAS = "http://nas/a.jpg?token=secret"


async def test_a_link_is_fetched_and_uploaded_once_however_many_rows_have_it(links, sender):
    ends = []
    async with anyio.create_task_group() as tasks:
        for _ in range(9):
            tasks.start_soon(ask_link, links, ends)
    assert (ends, sender.downloads, len(sender.sent)) == (["https://u/1"] * 9, [NAS], 1)


async def ask_link(links, ends):
    ends.append(await links.url(NAS))


async def test_a_link_is_fetched_again_once_its_upload_is_too_old(links, sender, clock):
    await links.url(NAS)
    clock.now += DAY_S + 1
    assert await links.url(NAS) == "https://u/2"
    assert sender.downloads == [NAS, NAS]


@pytest.mark.parametrize(
    ("found", "downloads", "message"),
    [
        ([UnusableResponse("the image's URL answers HTTP 404")], 1, "http://nas/a.jpg cannot be fetched (the image's URL"),
        ([RunStopped("the certificate is not accepted")], 1, "http://nas/a.jpg cannot be fetched (the certificate is not"),
        ([NoResponse("cut")] * 3, 3, r"http://nas/a.jpg cannot be fetched, tried 3 times (cut)."),
        ([b""], 1, "http://nas/a.jpg is empty."),
    ],
)  # fmt: skip
async def test_a_link_that_cannot_be_fetched_is_the_fault_of_its_rows_and_is_asked_for_no_more(
    links, sender, found, downloads, message
):
    sender.found = found
    for _ in range(2):
        with pytest.raises(ImageError, match="^" + re.escape(message)) as refused:
            await links.url(NAS)
        assert "secret" not in str(refused.value)
    assert (len(sender.downloads), sender.sent) == (downloads, [])


async def test_a_link_without_an_answer_is_tried_again(links, sender):
    sender.found = [NoResponse("cut"), NotDelivered("no connection")]
    assert await links.url(NAS) == "https://u/1"
    assert len(sender.downloads) == 3


async def test_private_means_the_links_that_the_service_cannot_reach(links, uploads):
    images = [NAS, "https://shop.com/a.jpg", "sha256:11", ""]
    assert [links.takes(image) for image in images] == [True, False, False, False]
    assert [LinkUploader(uploads, "all").takes(image) for image in images] == [True, True, False, False]
