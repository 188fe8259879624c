"""What an answer means: the vendor's error table line by line, and answers that nobody foresaw."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.client import responses
from batch.client.http import from_json
from batch.client.responses import (
    RULES,
    Accepted,
    AccountRefused,
    Completed,
    Doubtful,
    Failed,
    Inconclusive,
    NotAccepted,
    NotFound,
    Refused,
    Reply,
    Running,
    Unauthorized,
    Unknown,
    classify_status,
    classify_submit,
    micro_dollars,
    read_throttle,
    read_time,
)
from batch.core.errors import ServiceError
from batch.pacing.limiter import Throttled

HTML = "<html><body>Bad gateway</body></html>"
T0 = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def reply(status, body=None, text="", **headers):
    """`body` is parsed JSON; a string is an answer that is no JSON."""
    if isinstance(body, str):
        body, text = None, body
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body, text)


def error(text):
    return {"error": text}


# -- submit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(reply(200, {"request_id": "r1", "status": "QUEUED"}), Accepted, id="200"),
        pytest.param(reply(202, {"request_id": "r1"}), Accepted, id="202 with a request id is paid work"),
        pytest.param(reply(200, {"status": "QUEUED"}), Unknown, id="200 without a request id"),
        pytest.param(reply(200, {"request_id": ""}), Unknown, id="200 with an empty request id"),
        pytest.param(reply(200, {"request_id": 7}), Unknown, id="200 with a number for a request id"),
        pytest.param(reply(200, ["r1"]), Unknown, id="200 with a list"),
        pytest.param(reply(200, HTML), Unknown, id="200 not JSON"),
        pytest.param(reply(204), Unknown, id="204"),
        pytest.param(reply(302, HTML, location="/x"), Unknown, id="a redirect"),
        pytest.param(reply(400, error("malformed body")), Refused, id="400"),
        pytest.param(reply(400, HTML), Refused, id="400 HTML"),
        pytest.param(reply(401, error("Missing Authorization or x-api-key in header")), AccountRefused, id="401"),
        pytest.param(
            reply(401, {"error": "invalid", "error_description": "no such key", "status_code": 401}), AccountRefused,
            id="401 of the auth surface",
        ),
        pytest.param(reply(403, error("forbidden")), AccountRefused, id="403"),
        pytest.param(reply(404, error("no such model")), AccountRefused, id="404"),
        pytest.param(reply(405, HTML), AccountRefused, id="405 HTML"),
        pytest.param(reply(406, error("Content-Type must be application/json")), AccountRefused, id="406 content type"),
        pytest.param(reply(406, error("Insufficient credits for this model")), AccountRefused, id="406 credits"),
        pytest.param(reply(406, error("Team spend limit reached")), AccountRefused, id="406 spend limit"),
        pytest.param(reply(406, error("quality: must be at most 100")), Refused, id="406 parameter"),
        pytest.param(reply(410, error("retired")), AccountRefused, id="410"),
        pytest.param(reply(422, error("image_1: cannot be read")), Refused, id="422"),
        pytest.param(reply(429, error("slow down")), Throttled, id="429"),
        pytest.param(reply(429, HTML), Throttled, id="429 HTML"),
        pytest.param(reply(500, error("Internal server error")), NotAccepted, id="500 vendor's envelope"),
        pytest.param(reply(500, HTML), Unknown, id="500 HTML"),
        pytest.param(reply(500), Unknown, id="500 empty"),
        pytest.param(reply(500, {"message": "Internal server error"}), Unknown, id="500 of Amazon's API gateway"),
        pytest.param(reply(500, {"detail": "oops"}), Unknown, id="500 of some framework"),
        pytest.param(reply(500, {"error": {"code": 1}}), Unknown, id="500 with an error that is no text"),
        pytest.param(reply(500, {"error": ""}), Unknown, id="500 with an empty error"),
        pytest.param(reply(502, error("bad gateway")), Unknown, id="502 even with the envelope"),
        pytest.param(reply(502, HTML), Unknown, id="502"),
        pytest.param(reply(503, HTML), Unknown, id="503"),
        pytest.param(reply(504, {"message": "Endpoint request timed out"}), Unknown, id="504"),
        pytest.param(reply(524, HTML), Unknown, id="524"),
        pytest.param(reply(408, HTML), Unknown, id="408 of a proxy"),
        pytest.param(reply(413, error("too large")), Refused, id="another 4xx of the vendor"),
        *(
            pytest.param(reply(status, body), Unknown, id=f"{status} is said on the way: {body}")
            for status in (407, 408, 409, 412, 421, 423, 424, 425, 426, 428, 444, 460, 494, 499)
            for body in (error("x"), HTML)
        ),
        *(
            pytest.param(reply(500, {"error": "Internal Server Error"} | more), Unknown, id=f"500 with {list(more)}")
            for more in (
                {"timestamp": "2026-11-23T08:00:00Z", "status": 500, "path": "/v2/x"},
                {"statusCode": 500}, {"message": "x"}, {"request_id": "r1"}, {"path": "/"}, {"code": 1}, {"detail": None},
                {"status_code": 500, "error_description": "x"}, {"trace": ""}, {"": ""},
            )
        ),
        pytest.param(reply(413, error("x") | {"status": 413}), Unknown, id="413 in a framework's words"),
        pytest.param(reply(200, {"request_id": "r\x1b[2J"}), Unknown, id="200 with an id that cannot be shown"),
        pytest.param(reply(101, HTML), Unknown, id="101"),
        pytest.param(reply(304), Unknown, id="304"),
        pytest.param(reply(418, {"message": "teapot"}), Unknown, id="another 4xx of somebody else"),
    ],
)  # fmt: skip
def test_the_answer_to_a_submit(answer, expected):
    assert expected is type(classify_submit(answer))


@pytest.mark.parametrize("status", range(500, 600))
def test_only_the_vendors_own_500_lets_a_submit_be_repeated(status):
    """Whatever a gateway says, and in whatever shape."""
    for body in (None, HTML, {"message": "x"}, {"error": "x"}, {"error": None, "message": "x"}, [], "x", 7):
        verdict = classify_submit(reply(status, body))
        assert isinstance(verdict, NotAccepted) == (status == 500 and body == {"error": "x"})
        assert isinstance(verdict, NotAccepted | Unknown)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (reply(401, error("bad key")), "The key was not accepted (401). Check SEGMIND_API_KEY"),
        (reply(406, error("Insufficient credits")), "Add credits, then run the same command"),
        (reply(406, error("spend limit")), "Raise it"),
        (reply(405, HTML), "please report it"),
    ],
)
def test_a_stop_names_the_remedy_and_what_the_service_said(answer, part):
    verdict = classify_submit(answer)
    assert part in verdict.reason
    assert f"HTTP {answer.status}" in verdict.reason


# -- status and result -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(reply(200, {"status": "QUEUED"}), Running, id="200 QUEUED"),
        pytest.param(reply(200, {"status": "PROCESSING"}), Running, id="200 PROCESSING"),
        pytest.param(reply(200, {"status": "COMPLETED"}), Completed, id="200 COMPLETED"),
        pytest.param(
            reply(200, {"status": "FAILED", "error": "nsfw"}), Doubtful, id="200 FAILED: the history decides"
        ),
        *(
            pytest.param(
                reply(status, {"status": "FAILED", "error": "x"}),
                expected,
                id=f"{status} whatever its body says",
            )
            for status, expected in {
                201: Inconclusive,
                302: Inconclusive,
                400: Inconclusive,
                401: Unauthorized,
                403: Unauthorized,
                404: NotFound,
                406: Inconclusive,
                408: Inconclusive,
                410: NotFound,
                429: Throttled,
                500: Inconclusive,
                502: Inconclusive,
                503: Inconclusive,
                504: Inconclusive,
                524: Inconclusive,
            }.items()
        ),
        pytest.param(reply(404, {"status": "COMPLETED"}), NotFound, id="404 COMPLETED"),
        pytest.param(
            reply(422, {"status": "QUEUED", "error": "x"}), Inconclusive, id="422 of a job that runs"
        ),
        pytest.param(
            reply(422, {"error": "x", "path": "/v2", "status": 422}),
            Inconclusive,
            id="422 in a framework's words",
        ),
        pytest.param(reply(422, {"status": "FAILED"}), Failed, id="422 FAILED without a reason"),
        pytest.param(
            reply(200, {"status": "MELTING"}), Inconclusive, id="200 with a word that we do not know"
        ),
        pytest.param(reply(200, HTML), Inconclusive, id="200 not JSON"),
        pytest.param(reply(200, {}), Inconclusive, id="200 empty object"),
        pytest.param(reply(400, error("x")), Inconclusive, id="400"),
        pytest.param(reply(401, error("x")), Unauthorized, id="401"),
        pytest.param(reply(403, error("x")), Unauthorized, id="403"),
        pytest.param(reply(404, error("not found")), NotFound, id="404"),
        pytest.param(reply(404, HTML), NotFound, id="404 HTML"),
        pytest.param(reply(405, HTML), AccountRefused, id="405"),
        pytest.param(reply(406, error("Insufficient credits")), Inconclusive, id="406"),
        pytest.param(reply(410, error("x")), NotFound, id="410"),
        pytest.param(reply(422, {"status": "FAILED", "error": "blocked"}), Failed, id="422 FAILED"),
        pytest.param(reply(422, error("blocked")), Failed, id="422 with the vendor's error alone"),
        pytest.param(
            reply(422, {"detail": "x"}), Inconclusive, id="422 of somebody else: the job may be paid"
        ),
        pytest.param(reply(422, HTML), Inconclusive, id="422 HTML"),
        pytest.param(reply(429, error("x")), Throttled, id="429"),
        pytest.param(reply(500, error("x")), Inconclusive, id="500"),
        pytest.param(reply(502, HTML), Inconclusive, id="502"),
        pytest.param(reply(503, {"status": "COMPLETED"}), Inconclusive, id="503 whatever its body says"),
        pytest.param(reply(302, HTML), Inconclusive, id="a redirect"),
    ],
)
def test_the_answer_to_a_status_or_result_get(answer, expected):
    assert expected is type(classify_status(answer))


def test_a_failed_job_carries_the_services_reason():
    assert Failed("blocked", 422) == classify_status(reply(422, {"status": "FAILED", "error": "blocked"}))


@pytest.mark.parametrize(
    ("body", "output"),
    [
        pytest.param(
            {"images": [{"url": "https://i/1"}], "output": "https://i/2"}, "https://i/1", id="images"
        ),
        pytest.param({"output": "https://i/2"}, "https://i/2", id="no images"),
        pytest.param({"images": [], "output": "https://i/2"}, "https://i/2", id="empty images"),
        pytest.param({"images": [{"url": ""}], "output": "QUJD"}, "QUJD", id="base64"),
        pytest.param({"images": "x", "output": ["https://i/2"]}, "https://i/2", id="a list of outputs"),
        pytest.param({"images": ["https://i/1"], "output": None}, "https://i/1", id="images as plain URLs"),
        pytest.param({"output": {"url": "https://i/2"}}, "https://i/2", id="an output as an image is"),
        pytest.param({"output": [{"url": "https://i/2"}]}, "https://i/2", id="a list of such outputs"),
    ],
)
def test_where_a_result_names_its_output(body, output):
    assert output == responses.read_result(reply(200, {"status": "COMPLETED"} | body)).output


@pytest.mark.parametrize("body", [{}, {"output": None}, {"output": []}, {"output": 7}, {"images": [7]}])
def test_a_result_without_an_output_is_no_result(body):
    with pytest.raises(ServiceError, match=r"names no output"):
        responses.read_result(reply(200, body))


def test_a_result_carries_the_services_figures_where_they_are_figures():
    metrics = {"cost": 0.03, "queue_time": 1, "inference_time": 23.4, "total_time": "soon"}
    result = responses.read_result(reply(200, {"output": "https://i/1", "metrics": metrics}))
    assert (result.cost, result.queue_s, result.inference_s, result.total_s) == (30_000, 1.0, 23.4, None)


# -- money -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0.036, 36_000),  # 0.036 * 1e6 is 35999.99999999999 in floats
        (0.1 + 0.2, 300_000),  # 0.30000000000000004
        (0, 0),
        (1, 1_000_000),
        ("0.05", 50_000),
        (1e-7, 0),
        (999_999_999.999999, 999_999_999_999_999),
        (-0.01, None),
        (1e9, None),  # beyond what the ledger's integers are meant for
        (1e300, None),
        ("1e400", None),
        (math.inf, None),
        (math.nan, None),
        (None, None),
        (True, None),
        ("", None),
        ("free", None),
        ([0.03], None),
    ],
)
def test_dollars_become_whole_micro_dollars(value, micro):
    assert micro == micro_dollars(value)


@given(st.integers(0, 10**15 - 1))
def test_no_micro_dollar_is_lost_on_its_way_through_json(micro):
    written = json.dumps({"cost": micro / 1_000_000})
    assert micro == micro_dollars(json.loads(written)["cost"])


# -- times -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00+00:00",
        "2027-01-15T09:00:00+01:00",
        "2027-01-15T08:00:00",
        "2027-01-15 08:00:00",
        "2027-01-15T08:00:00.000000",
        "1800000000",
        "1800000000.0",
        "1800000000000",
        " 1800000000 ",
        "Fri, 15 Jan 2027 08:00:00 GMT",
        "Fri, 15 Jan 2027 08:00:00",  # no zone: UTC, whatever the zone of this machine
        "Fri, 15 Jan 2027 08:00:00 -0000",
    ],
)
def test_every_known_way_to_write_a_reset(monkeypatch, text):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert read_time(text) == T0


@pytest.mark.parametrize(
    "text",
    [None, "", "soon", "30", "0", "-1", "nan", "inf", "-inf", "1e999", "1e15", "2027-13-45", "99:99",
     "Fri, 15 Jan 99999999999999999999 08:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 -1400", "0001-01-01T00:00:00+14:00"],
)  # fmt: skip
def test_what_is_no_time_is_none(text):
    assert read_time(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("86400", None),
        ("x", None),
    ],
)
def test_retry_after_is_honoured_when_it_is_a_number_of_seconds(text, seconds):
    assert seconds == read_throttle(reply(429, retry_after=text)).retry_after


def test_a_429_is_read_with_its_own_date():
    answer = reply(429, x_rate_limit_reset_at_utc="2027-01-15T08:00:30", date="Fri, 15 Jan 2027 08:00:00 GMT")
    assert Throttled(reset_at=T0 + 30, date=T0, retry_after=None) == read_throttle(answer)


# -- garbage -----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None, exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["status", "request_id", "error", "message", "metrics", "images", "output", "url", "cost", "total_time"]
        )
        | st.text(max_size=3),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip
WORDS = st.sampled_from(["QUEUED", "COMPLETED", "FAILED"])
BODIES = JSON | st.builds(
    lambda body, word: {**body, "status": word}, st.dictionaries(st.text(), JSON), WORDS
)
HEADERS = st.dictionaries(
    st.sampled_from(["date", "retry-after", "x-rate-limit-reset-at-utc"]),
    st.text() | st.integers().map(str) | st.floats().map(str) | st.datetimes().map(str),
)


@given(st.integers(100, 999), HEADERS, BODIES, st.text())
def test_no_answer_whatsoever_raises(status, headers, body, text):
    answer = Reply(status, headers, body, text)
    assert isinstance(classify_submit(answer), responses.Submission)
    verdict = classify_status(answer)
    assert isinstance(verdict, responses.StatusVerdict)
    responses.metric_s(answer, "total_time")
    if isinstance(verdict, Completed):
        try:
            result = responses.read_result(answer)
        except ServiceError:
            return
        assert result.cost is None or 0 <= result.cost < 2**63


@given(st.binary() | JSON.map(lambda body: json.dumps(body).encode()))
def test_what_is_parsed_can_be_written_down(data):
    """Half a surrogate pair in JSON is text that no database takes."""
    json.dumps(from_json(data), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b'{"error": "\\ud83d\\ude00"}', {"error": "\U0001f600"}),
        (b'{"error": "\\ud83d"}', {"error": "?"}),
        (b'{"error": "\xff"}', None),
        (b"", None),
        (b"[" * 100_000, None),
    ],
    ids=["a pair", "half a pair", "not UTF-8", "nothing", "too deep"],
)
def test_bodies_that_are_hard_to_parse(data, body):
    assert body == from_json(data)


def test_a_reason_is_one_bounded_line():
    long = reply(502, text="line one\n\n  line two " + "x" * 5000)
    assert long.reason.startswith("HTTP 502: line one line two xxx")
    assert len(long.reason) < 320
    assert reply(502).reason == "HTTP 502: an empty answer"


def test_every_line_of_the_table_has_its_reason_and_speaks_of_a_call():
    assert all(line.why and (line.submit or line.get) for line in RULES)


def test_no_line_of_the_table_is_needless():
    """Each decides some answer of the table: without it another line would."""
    bodies = [
        None, {"error": "no"}, {"message": "no"}, {"status": "FAILED", "error": "blocked"}, {"status": "QUEUED"},
        {"status": "COMPLETED"}, {"request_id": "r"}, {"error": "Insufficient credits"}, {"error": "spend limit"},
        {"error": "Content-Type"},
    ]  # fmt: skip
    statuses = [200, 201, 302, 400, 401, 403, 404, 405, 406, 409, 410, 413, 418, 422, 429, 500, 502, 503]
    deciding = {
        next(number for number, line in enumerate(RULES) if getattr(line, call) and line.when(answer))
        for answer in (reply(status, body) for status in statuses for body in bodies)
        for call in ("submit", "get")
    }
    assert deciding == set(range(len(RULES)))
