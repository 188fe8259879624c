"""The key is left out of what a service says, however the service has written it."""

from __future__ import annotations

import base64
import dataclasses
import json
from urllib.parse import quote

import pytest

from batch.client.client import Client
from batch.client.key_mask import KeyMask
from batch.client.responses import Accepted, Refused

KEY = "SG_0123456789abcdef"
pytestmark = pytest.mark.anyio


def escaped(text, form):
    return "".join(form.format(ord(character)) for character in text)


SPELLINGS = {
    "as it is": KEY,
    "upper case": KEY.upper(),
    "lower case": KEY.lower(),
    "JSON escapes in a text": escaped(KEY, "\\u{:04x}"),
    "upper JSON escapes": escaped(KEY, "\\u{:04X}"),
    "escaped twice": escaped(KEY, "\\\\u{:04x}"),
    "hex escapes": escaped(KEY, "\\x{:02x}"),
    "percent": escaped(KEY, "%{:02X}"),
    "some percent": f"%53G{quote('_', safe='')}{KEY[3:]}".replace("_", "%5F"),
    "HTML": escaped(KEY, "&#{};"),
    "HTML hex": escaped(KEY, "&#x{:x};"),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of a header": base64.b64encode(f"x-api-key: {KEY}".encode()).decode(),
    "base64 of a pair": base64.b64encode(f"{KEY}:secret".encode()).decode(),
    "base64 in the middle": base64.b64encode(f"ab{KEY}cd".encode()).decode(),
}


@pytest.mark.parametrize("written", SPELLINGS.values(), ids=SPELLINGS)
async def test_no_spelling_of_the_key_comes_through(server, written):
    body = json.dumps({"error": f"bad key {written}!", written: [{"deep": written}]})
    for data in (body, body.replace(KEY, escaped(KEY, "\\u{:04x}")), f"<p>{written}</p>"):
        server.handle = lambda call, data=data: call.answer(422, data.encode())
        async with Client(server.service) as client:
            refused = await client.submit({"prompt": "oak"})
            reply = await client.read(f"{server.url}/x")
        assert isinstance(refused, Refused)
        for shown in (refused.reason, reply.text, json.dumps(reply.body)):
            assert written not in shown
            assert KEY.lower() not in shown.lower()
        assert "[key]" in refused.reason


async def test_what_is_not_the_key_stays():
    mask = KeyMask(KEY)
    for text in ("SG_0123", "a b %20 \\u0053 &#83; c", base64.b64encode(b"another key").decode(), ""):
        assert mask.text(text) == text
    assert KeyMask("").text("anything") == "anything"


@pytest.mark.parametrize("key", ["k", "abc", "k3y", "SG_1234", "(.*)"])
async def test_a_short_key_is_left_out_of_texts_for_people_and_breaks_no_id(server, key):
    service = dataclasses.replace(server.service, api_key=key)
    async with Client(service) as client:
        server.handle = lambda call: call.answer(
            422, {"error": {"message": f"the key '{key}' is wrong"}, "detail": f"key={key}."}
        )
        assert (await client.submit({"prompt": "oak"})).reason == "HTTP 422: key=[key]."
        server.handle = lambda call: call.answer(
            422, f'{{"error": "wrong: {escaped(key, chr(92) + "u{:04x}")}"}}'.encode()
        )
        assert (await client.submit({"prompt": "oak"})).reason == "HTTP 422: wrong: [key]"
        server.handle = lambda call: call.answer(
            200, {"request_id": f"{key}-1", "request_body": {"prompt": key}}
        )
        assert Accepted(f"{key}-1") == await client.submit({"prompt": "oak"})
        assert (await client.read(f"{server.url}/x")).body["request_body"] == {"prompt": key}


@pytest.mark.parametrize(
    "said", ["\x1b[2J\x1b]0;x\x07", "one\r\njob.saved id=forged", "\x9b31m", "a\u202eb", "\u2028next", "\x00"]
)
async def test_control_characters_of_a_service_are_shown_wherever_its_words_go(server, said):
    for body in ({"error": f"<{said}>"}, {"message": f"<{said}>"}, f"<{said}>".encode()):
        server.handle = lambda call, body=body: call.answer(422, body)
        async with Client(server.service) as client:
            refused = await client.submit({"prompt": "oak"})
            look = await client.status("r1")
        for text in (refused.reason, look.verdict.reason):
            assert text.isprintable(), text
            assert "<" in text


async def test_control_characters_of_a_status_line_are_shown(server):
    server.handle = lambda call: call.send(b"HTTP/1.1 2\x1b[2J00 \x1b]0;x\x07\r\nx\x1b: 1\r\n\r\n")
    async with Client(server.service) as client:
        assert (await client.submit({"prompt": "oak"})).reason.isprintable()


@pytest.mark.parametrize("piece", ["\\", "&#0", "%", "S", "%53\\u0047", "&#x0"])
def test_a_long_text_that_is_nearly_a_key_is_looked_through_quickly(piece):
    text = piece * (64_000 // len(piece))
    assert KeyMask(KEY).text(text) == text
