"""What is refused on submit, and with which status; what is left to the job."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.parameters import PARAMETERS
from batch.server.http.app import OWN_HOST
from batch.server.http.request import check_parameters, read_object
from batch.server.simulation.responses import VENDOR, RequestRefused, reset_text

GOOD = {"prompt": "Apply oak", "image_1": "https://e.com/1.jpg", "image_2": "https://e.com/2.jpg"}


def refused(body):
    try:
        check_parameters(body)
    except RequestRefused as refusal:
        return refusal.answer.status, refusal.answer.body.decode()
    return None


def test_the_defaults_of_the_model_are_taken():
    assert refused({p.name: p.default for p in PARAMETERS}) is None


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        pytest.param({"aspect_ratio": "7:3"}, 406, "aspect_ratio", id="unknown choice"),
        pytest.param({"image_format": "gif"}, 406, "image_format", id="unknown format"),
        pytest.param({"lora": "other"}, 406, "lora", id="unknown lora"),
        pytest.param({"seed": -2}, 422, "seed", id="below the range"),
        pytest.param({"seed": 2_147_483_648}, 422, "seed", id="above the range"),
        pytest.param({"quality": 0}, 422, "quality", id="quality 0"),
        pytest.param({"quality": 101}, 422, "quality", id="quality 101"),
        pytest.param({"quality": "95"}, 422, "quality", id="text for a number"),
        pytest.param({"quality": True}, 422, "quality", id="a flag for a number"),
        pytest.param({"base64": 1}, 422, "base64", id="a number for a flag"),
        pytest.param({"prompt": None}, 422, "prompt", id="no text"),
        pytest.param({"image_1": ["x"]}, 422, "image_1", id="a list for a URL"),
    ],
)
def test_a_refused_parameter_has_its_status_and_its_name(change, status, named):
    got, text = refused({**GOOD, **change})
    assert got == status
    assert named in text


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"prompt": ""}, id="empty prompt"),
        pytest.param({"image_1": "nonsense"}, id="an image that cannot be fetched"),
        pytest.param({"image_3": ""}, id="no third image"),
        pytest.param({"colour": "red"}, id="a name that is no parameter"),
    ],
)
def test_what_only_the_job_finds_out_is_accepted(change):
    assert refused({**GOOD, **change}) is None


def test_a_body_without_prompt_is_malformed():
    assert refused({"image_1": "x"}) == (400, '{"error":"Missing required field: prompt"}')


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b"{}", {}),
        ("Application/JSON; charset=utf-8", b"{}", {}),
        ("text/plain", b"{}", 406),
        ("", b"{}", 406),
        ("application/json", b"{", 400),
        ("application/json", b"\xff", 400),
        ("application/json", b"[]", 400),
        ("application/json", b'{"quality": NaN}', 400),
        ("application/json", b'{"prompt": "\\ud800"}', 400),
        pytest.param("application/json", b'{"a":' * 100_000, 400, id="nested beyond reason"),
        ("application/json", b'{"prompt": "\\ud83d\\ude00"}', {"prompt": "\U0001f600"}),
    ],
)
def test_the_body_must_be_a_json_object_and_say_so(content_type, body, expected):
    try:
        read = read_object(content_type, body)
    except RequestRefused as refusal:
        read = refusal.answer.status
    assert read == expected


@given(st.binary(max_size=40))
def test_no_body_breaks_the_reader(body):
    """Any bytes are either an object or refused."""
    try:
        read = read_object("application/json", body)
    except RequestRefused as refusal:
        read = refusal.answer.status
    assert read == 400 or isinstance(read, dict)


def test_the_406_texts_can_be_told_apart():
    texts = {
        VENDOR[name].body for name in ("content_type", "insufficient_credits", "parameter", "spend_limit")
    }
    assert len(texts) == 4
    assert VENDOR["insufficient_credits"].body.startswith(b'{"error":"Insufficient credits')


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("iso_z", "2026-01-02T03:04:05.500Z"),
        ("iso", "2026-01-02T03:04:05.500"),
        ("space", "2026-01-02 03:04:05"),
        ("epoch", "1767323045.500"),
        ("none", None),
    ],
)
def test_the_reset_of_a_window_is_told_in_each_style(style, expected):
    assert reset_text(1767323045.5, style) == expected


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8787", True),
        ("localhost:1", True),
        ("LOCALHOST", True),
        ("[::1]", True),
        ("[::1]:80", True),
        ("", False),
        ("evil.example", False),
        ("evil.example:127", False),
        ("127.0.0.1.evil.example", False),
        ("localhost:80:80", False),
        ("127.0.0.1:", False),
        ("127.0.0.1:\u0663", False),
        ("localho\u017ft", False),
    ],
)
def test_only_names_of_this_machine_are_answered(host, own):
    assert bool(OWN_HOST.fullmatch(host)) is own
