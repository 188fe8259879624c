"""Which proxy a request takes, and which hosts need none."""

from __future__ import annotations

import pytest

from batch.core.config import Network, Service
from batch.core.errors import UsageError

PROXY = "http://proxy:3128"


def direct(no_proxy, host, port=443, scheme="https"):
    return Network({"all": PROXY}, tuple(no_proxy.split(","))).proxy_for(scheme, host, port) is None


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("10.0.0.0/8", "10.255.0.1"), ("10.1.2.3/8", "10.9.9.9"), ("10.0.0.1", "10.0.0.1"), ("10.0.0.1/32", "10.0.0.1"),
        ("192.168.0.0/255.255.0.0", "192.168.7.7"), ("0.0.0.0/0", "8.8.8.8"), ("fe80::/10", "fe80::1"),
        ("[fe80::]/10", "fe80::1"), ("fe80::/10", "fe80::1%eth0"), ("::1", "::1"), ("[::1]", "::1"), ("[::1]:443", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"), ("2001:DB8::/32", "2001:db8::7"), ("10.0.0.0/8", "::ffff:10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"), ("*", "any.example"), ("example.com", "example.com"), ("example.com", "api.example.com"), (".example.com", "api.example.com"),
        (".example.com", "example.com"), ("*.example.com", "api.example.com"), ("Example.COM", "api.example.com"),
        ("example.com.", "api.example.com"), ("example.com", "api.example.com."), ("example.com:443", "example.com"),
        ("a,b, example.com", "example.com"),
    ],
)  # fmt: skip
def test_hosts_that_need_no_proxy(entry, host):
    assert direct(entry, host)


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("10.0.0.0/8", "11.0.0.1"), ("10.0.0.0/8", "10.example.com"), ("fe80::/10", "10.0.0.1"), ("10.0.0.0/33", "10.0.0.1"),
        ("10.0.0.0/8:80", "10.0.0.1"), ("0.0.0.0/0", "::1"), ("[::1]:80", "::1"), ("example.com:80", "example.com"),
        ("example.com", "badexample.com"), ("ample.com", "example.com"), (".", "example.com"), ("", "example.com"),
        ("/8", "10.0.0.1"), ("com/8", "example.com"),
    ],
)  # fmt: skip
def test_hosts_that_need_one(entry, host):
    assert not direct(entry, host)


def test_the_port_that_a_url_does_not_name_is_that_of_its_scheme():
    assert direct("h:80", "h", None, "http")
    assert not direct("h:80", "h", None, "https")


@pytest.mark.parametrize(
    "bad", ["socks://h:1080/", "socks5h://h", "h:3128", "ftp://h", "http://", "http://h:x", "http://a..b"]
)
def test_only_the_proxy_that_would_be_taken_is_judged(bad):
    good = {"https": PROXY, "all": bad, "ftp": bad, "http": bad}
    assert Service(network=Network(good)).network.proxy_for("https", "api.segmind.com", None) == PROXY
    assert Service(network=Network({"all": bad}, ("segmind.com",)))
    assert Service(
        "http://127.0.0.1:1", "http://127.0.0.1:1", "http://127.0.0.1:1", network=Network({"https": bad})
    )
    with pytest.raises(UsageError, match=r"the proxy for all .*Set all_proxy to http://host:port"):
        Service(network=Network({"all": bad, "http": PROXY}))
    with pytest.raises(UsageError, match=r"Set https_proxy"):
        Service(upload_url="http://127.0.0.1:1", network=Network({"all": PROXY, "https": bad}))


def test_an_empty_variable_is_no_proxy():
    assert Network({"https": "", "all": PROXY}).proxy_for("https", "h", None) == PROXY
    assert Network({"https": "", "all": ""}).proxy_for("https", "h", None) is None
