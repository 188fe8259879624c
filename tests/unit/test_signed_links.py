"""Which part of a link only says that it may be read: the signatures of the usual services, and what is none."""

import pytest

from batch.core.links import is_private_host, unsigned
from batch.core.models import payload_key
from batch.core.parameters import PARAMETERS

DAY, SHA = "1767225600", "ab" * 32
SIGNED = {
    "AWS v4": f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F2026&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600"
              f"&X-Amz-Security-Token=abc%2F&X-Amz-SignedHeaders=host&X-Amz-Signature={SHA}&x-id=GetObject",
    "AWS v2": f"AWSAccessKeyId=AKIA&Signature=abc%3D&Expires={DAY}&x-amz-security-token=s",
    "GCS v4": "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=me&X-Goog-Date=2026&X-Goog-Expires=900&X-Goog-Signature=ab",
    "GCS v2": f"GoogleAccessId=me%40x&Expires={DAY}&Signature=abc%2B",
    "Azure": "sv=2022-11-02&st=2026-01-01T00%3A00Z&se=2026-01-02T00%3A00Z&sr=b&sp=r&spr=https&sip=1.2.3.4&sig=abc%3D",
    "Azure, a user's": "sv=2022-11-02&skoid=1&sktid=2&skt=2026&ske=2026&sks=b&skv=2022-11-02&se=2026&sr=b&sp=r&sig=a",
    "Azure, an account's": "sv=2022-11-02&ss=b&srt=sco&sp=r&se=2026&sig=abc",
    "CloudFront, custom": "Policy=abc_&Signature=def~&Key-Pair-Id=K1",
    "CloudFront, canned": f"Expires={DAY}&Signature=def~&Key-Pair-Id=K1",
    "Alibaba v1": f"OSSAccessKeyId=LTAI&Expires={DAY}&Signature=abc&security-token=t",
    "Alibaba v4": "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=a&x-oss-date=2026&x-oss-expires=60&x-oss-signature=ab",
    "Tencent": "q-sign-algorithm=sha1&q-ak=AK&q-sign-time=1;2&q-key-time=1;2&q-header-list=&q-url-param-list=&q-signature=ab"
               "&x-cos-security-token=t",
    "Huawei": f"AccessKeyId=A&Expires={DAY}&Signature=ab",
    "Akamai": f"hdnts=exp={DAY}~acl=/*~hmac=abcdef0123",
    "Akamai, spelt otherwise": f"hdnea=st=1~exp={DAY}~acl=%2f*~hmac=abcdef0123",
    "Akamai, bare": f"exp={DAY}~acl=/*~hmac=abcdef0123",
    "Cloudinary": "__cld_token__=exp=1~hmac=ab",
    "Fastly": f"token={DAY}_{'ab' * 20}",
    "Bunny": f"token={'Ab-_' * 10}&expires={DAY}",
    "Google Cloud CDN": f"Expires={DAY}&KeyName=k&Signature=abc",
    "nginx": f"md5={'Ab-_' * 5}ab&expires={DAY}",
    "Laravel": f"expires={DAY}&signature={SHA}",
}  # fmt: skip


@pytest.mark.parametrize("query", SIGNED.values(), ids=SIGNED)
def test_a_signature_is_left_out_wherever_it_stands(query):
    url = "https://host.example/a%20b/chair.png"
    assert unsigned(f"{url}?{query}") == url
    assert unsigned(f"{url}?id=17&{query}&size=2#top") == f"{url}?id=17&size=2#top"
    assert unsigned(f"{url}?{'&'.join(reversed(query.split('&')))}") == url


@pytest.mark.parametrize(
    "query",
    ["id=17", "v=2&width=300", "sig=abc", "token=chair", "expires=never&token=x", "signature=oak", "Signature=abc&Expires=1",
     "sv=1&se=2&sp=3", "Policy=round", "e=1&st=new", "s=large", "exp=new", "x-oss-process=image%2Fresize", "alt=media&token=1",
     "token=eyJhbGciOiJIUzI1NiJ9.eyJpZCI6MTd9.abc", "md5=short&expires=1767225600", "", "a=b=c&&d", "%zz=1"],
)  # fmt: skip
def test_what_may_choose_the_image_stays(query):
    url = f"https://host.example/chair.png?{query}"
    assert unsigned(url) == url


def test_what_a_service_does_to_the_image_stays():
    signed = "x-oss-process=image%2Fresize,w_300&OSSAccessKeyId=L&Expires=1767225600&Signature=a"
    assert (
        unsigned(f"https://b.oss.example/a.png?{signed}")
        == "https://b.oss.example/a.png?x-oss-process=image%2Fresize,w_300"
    )


def test_a_host_is_taken_whole():
    query = "?alt=media&token=123"
    assert unsigned(f"https://firebasestorage.googleapis.com/v0/a{query}").endswith("?alt=media")
    assert unsigned(f"https://firebasestorage.googleapis.com.evil.example/a{query}").endswith(query)


def parameters(**given):
    return {parameter.name: parameter.default for parameter in PARAMETERS} | given


@pytest.mark.parametrize(
    ("images", "key"),
    [
        ({}, "tb1-53e3aa0caddf8121bc00139397a870ccf8950071b3d12f02c3cd3826b6074917"),
        (
            {"image_1": "https://h/a.png?id=17"},
            "tb1-0f180854854cdced7d318b44b93ac181f6b7c28203b48b5a1438baedf962cde2",
        ),
    ],
)
def test_links_without_a_signature_have_the_key_they_always_had(images, key):
    """A key stands in the ledgers of people: it is written down here."""
    assert payload_key(parameters(prompt="Wrap", **images)) == key


@pytest.mark.parametrize("name", ["image_1", "image_2", "image_3", "lora_2_url", "lora_3_url"])
def test_a_signature_is_no_part_of_a_key(name):
    keys = {
        payload_key(parameters(**{name: f"https://h/a.png?id=1&sv=2022-11-02&sig={night}"})) for night in "ab"
    }
    assert keys == {payload_key(parameters(**{name: "https://h/a.png?id=1"}))}


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True), ("nas", True), ("NAS.", True), ("printer.local", True), ("shop.internal", True),
        ("files.fritz.lan", True), ("x.home.arpa", True), ("127.0.0.1", True), ("10.1.2.3", True), ("192.168.0.9", True),
        ("172.16.0.1", True), ("169.254.169.254", True), ("100.64.0.1", True), ("[::1]", True), ("fe80::1", True),
        ("fd00::1", True), ("::ffff:10.0.0.1", True), ("0.0.0.0", True),
        ("shop.com", False), ("local.shop.com", False), ("lan.de", False), ("8.8.8.8", False), ("2606:4700::1111", False),
        ("172.32.0.1", False), ("xn--mnchen-3ya.de", False),
    ],
)  # fmt: skip
def test_a_host_that_only_a_local_network_reaches_is_known_by_its_name(host, private):
    assert is_private_host(host) == private
