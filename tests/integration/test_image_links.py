"""Links to images: asked for by `validate --links`, and only then."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import support

from batch.client import link_check


class Shop(ThreadingHTTPServer):
    """A host of images on this machine: `files` by path, and the requests that came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Answers with a file or 404."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        data = self.server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        if data is not None and data.startswith(b"\x89PNG"):
            self.send_header("content-type", "image/png")
        self.send_header("content-length", str(len(data or b"")))
        self.end_headers()
        if data and self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815  the library's

    def log_message(self, *_):
        pass


@pytest.fixture
def shop():
    with Shop() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def linked(shop, pairs, tmp_path):
    """A manifest whose rows have these products, each a path of the shop's."""
    shop.files["/chair.png"] = support.picture(tmp_path / "chair.png").read_bytes()

    def write(*paths):
        lines = support.rows(len(paths), image_2=str(support.picture(tmp_path / "oak.png", "peru")))
        return pairs([line | {"image_1": shop.url + path} for line, path in zip(lines, paths, strict=True)])

    return write


def test_validate_asks_for_each_link_once_and_reports_it_with_its_row_and_remedy(
    shop, linked, command, monkeypatch
):
    monkeypatch.setattr(link_check, "GAP_S", 0.0)
    shop.files["/page"] = b"<html>please sign in</html>"
    manifest = linked("/chair.png", "/gone.png", "/chair.png", "/gone.png", "/page")
    assert command("validate", manifest)[0] == 0
    assert shop.asked == []
    code, out, told = command("validate", manifest, "--links")
    assert code == 2, told
    assert (
        f"pairs.csv:3:image_1: {shop.url}/gone.png: there is nothing behind the link (HTTP 404) (in 2 rows)."
        in told
    )
    assert f"pairs.csv:6:image_1: {shop.url}/page: the link shows an HTML page, not an image." in told
    assert out.strip() == "2 problems; nothing would be sent."
    asked = ["/chair.png", "/gone.png", "/page"]
    assert [line for line in shop.asked if line.startswith("HEAD")] == [f"HEAD {path}" for path in asked]
    manifest.write_text(manifest.read_text().replace("image_1", "Image 1"))
    assert "pairs.csv:3:Image 1: " in command("validate", manifest, "--links")[2]
    code, out, _ = command("validate", linked("/chair.png"), "--links", "--format", "json")
    assert (code, json.loads(out)["errors"]) == (0, 0)


def test_what_could_not_be_asked_is_a_warning(linked, shop, command, monkeypatch):
    monkeypatch.setattr(link_check, "GAP_S", 0.0)
    manifest = linked("/chair.png")
    shop.shutdown()
    shop.server_close()
    code, out, told = command("validate", manifest, "--links")
    assert (code, "warning" in told, "could not be checked" in told) == (0, True, True), told
    assert "no problems, 2 warnings" in out


def uploaded(hosted):
    """The images that were uploaded, each with how often."""
    return dict(hosted.stats()["uploaded"])


def test_a_private_address_is_warned_of_once_a_host_with_the_way_out(linked, command):
    manifest = linked("/chair.png", "/chair.png?2")
    code, _, told = command("validate", manifest)
    assert (
        code,
        told.count("127.0.0.1 is an address of your own network, which the service cannot reach."),
    ) == (0, 1), told
    assert "Give --upload-links private" in told
    assert "your own network" not in command("validate", manifest, "--upload-links", "private")[2]


def test_links_that_the_service_cannot_reach_are_fetched_once_and_uploaded(
    shop, linked, command, hosted, out
):
    manifest = linked("/chair.png", "/chair.png")
    code, _, told = command("run", manifest, "--out", out, "--upload-links", "private")
    assert (code, support.submits(hosted), told.count("your own network")) == (0, 2, 0), told
    assert shop.asked == ["GET /chair.png"]
    assert len(uploaded(hosted)) == 2  # the product and the texture
    assert {line["image_1"] for line in support.report(out)} == {f"{shop.url}/chair.png"}
    # The row is its link: without the option, and with the link gone, nothing is sent again.
    shop.files.clear()
    assert command("run", manifest, "--out", out)[0] == 0
    assert support.submits(hosted) == 2


def test_a_link_that_cannot_be_fetched_fails_its_row_unbilled_and_can_be_retried(
    shop, linked, command, hosted, out
):
    shop.files["/page.png"] = b"<html>sign in</html>"
    manifest = linked("/chair.png", "/gone.png", "/page.png")
    assert command("run", manifest, "--out", out, "--upload-links", "all")[0] == 1
    assert support.submits(hosted) == 1
    lines = {line["image_1"].rpartition("/")[2]: line for line in support.report(out)}
    assert {name: line["error_class"] for name, line in lines.items()} == {
        "chair.png": "", "gone.png": "bad_input", "page.png": "bad_input",
    }  # fmt: skip
    assert "gone.png cannot be fetched (the image's URL answers HTTP 404)." in lines["gone.png"]["error"]
    assert "page.png is an HTML page, not an image." in lines["page.png"]["error"]
    shop.files |= {"/gone.png": shop.files["/chair.png"], "/page.png": shop.files["/chair.png"]}
    assert command("retry", out, "--upload-links", "all")[0] == 0
    assert support.submits(hosted) == 3


def test_a_lost_submit_of_an_uploaded_link_is_settled_from_the_history(linked, command, hosted, out):
    hosted.faults([{"call": "submit", "action": "reset_after"}])
    assert (
        command("run", linked("/chair.png"), "--out", out, "--upload-links", "private", "--settle", "0.1s")[0]
        == 0
    )
    assert (support.submits(hosted), support.events(out, "lose")) == (1, 1)
