"""Signed links: which part of a URL names a file, and which part only lets us read it until tonight; and private ones.

A service signs the same link again every night, so a signature is not a part of what a row asks for. A parameter is
recognised only where it is unmistakable: by the company it keeps (`sig` counts as Azure's only beside `sv`), by the
form of its value, or by the host. Everything else in a query stays: it may well choose the image (`?id=17`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGITS = r"\d{9,13}"
_ANY = r".+"
_HMAC = r"(?:st=\d+~|ip=[^~]*~|id=[^~]*~|data=[^~]*~)*exp=\d+~.*hmac=[0-9a-f]+"


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How one kind of service signs: it is recognised by `marks` (name → form of the value), all of which are there.

    Then every parameter in `names` (separated by blanks), or that begins with one of `beginnings`, belongs to the
    signature. Names are in lower case. `hosts` are domains where alone it counts; `path` is what the URL's path must hold.
    """

    marks: Mapping[str, str]
    names: str = ""
    beginnings: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    path: str = ""


_SCHEMES = (
    # Amazon S3 and what speaks like it (MinIO, R2, Spaces, Wasabi, Backblaze, IBM, Yandex, Scaleway), version 4, then 2
    _Scheme({"x-amz-signature": _ANY}, "x-id", ("x-amz-",)),
    _Scheme({"awsaccesskeyid": _ANY, "signature": _ANY}, "awsaccesskeyid signature expires", ("x-amz-",)),
    # Google Cloud Storage, version 4, then 2; Google Cloud CDN
    _Scheme({"x-goog-signature": _ANY}, beginnings=("x-goog-",)),
    _Scheme({"googleaccessid": _ANY, "signature": _ANY}, "googleaccessid signature expires"),
    _Scheme({"keyname": _ANY, "signature": _ANY, "expires": _DIGITS}, "keyname signature expires urlprefix"),
    # Azure: a shared access signature of an account, a service or a user
    _Scheme(
        {"sig": _ANY, "sv": r"\d{4}-\d\d-\d\d"},
        "sv sig se st sp sr spr sip si skoid sktid skt ske sks skv saoid suoid scid sduoid skdutid sdd ses ss srt",
    ),
    # CloudFront, with a custom policy or a canned one
    _Scheme({"key-pair-id": _ANY, "signature": _ANY}, "key-pair-id signature policy expires hash-algorithm"),
    # Alibaba OSS, version 1, then 4 (x-oss-process chooses the image and stays); Huawei OBS; Tencent COS; Volcengine TOS
    _Scheme({"ossaccesskeyid": _ANY, "signature": _ANY}, "ossaccesskeyid signature expires security-token"),
    _Scheme(
        {"x-oss-signature": _ANY},
        "x-oss-signature x-oss-signature-version x-oss-credential x-oss-date x-oss-expires "
        "x-oss-security-token x-oss-additional-headers",
    ),
    _Scheme(
        {"accesskeyid": _ANY, "signature": _ANY, "expires": _DIGITS},
        "accesskeyid signature expires x-obs-security-token",
    ),
    _Scheme({"q-signature": _ANY, "q-ak": _ANY}, "x-cos-security-token", ("q-sign-", "q-")),
    _Scheme(
        {"x-tos-signature": _ANY},
        "x-tos-signature x-tos-algorithm x-tos-credential x-tos-date x-tos-expires x-tos-signedheaders "
        "x-tos-signedqueries x-tos-security-token x-tos-policy x-tos-content-sha256",
    ),
    # Baidu BOS; Backblaze B2's own; Qiniu
    _Scheme({"authorization": r"bce-auth-v\d/.+|\d_\d{14,}_.+"}, "authorization x-bce-security-token"),
    _Scheme({"e": _DIGITS, "token": r"[\w-]{20,}:[\w=-]{20,}"}, "e token"),
    # Networks that deliver: Akamai, Fastly, Cloudflare, Bunny, KeyCDN, nginx, imgix, Cloudinary
    _Scheme({"hdnts": _HMAC}, "hdnts"),
    _Scheme({"hdnea": _HMAC}, "hdnea"),
    _Scheme({"hdntl": _HMAC}, "hdntl"),
    _Scheme({"__token__": _HMAC}, "__token__"),
    _Scheme({"token": _HMAC}, "token"),
    _Scheme({"exp": r"\d+~.*hmac=[0-9a-f]+"}, "exp"),
    _Scheme({"st": r"\d+~exp=\d+~.*hmac=[0-9a-f]+"}, "st"),
    _Scheme({"__cld_token__": _ANY}, "__cld_token__"),
    _Scheme({"token": r"\d{10}_(?:0x)?[0-9a-fA-F]{32,128}"}, "token"),
    _Scheme({"verify": r"\d{10}-[\w+/=-]{16,}"}, "verify"),
    _Scheme({"exp": _DIGITS, "sig": r"[0-9a-f]{64}"}, "exp sig"),
    _Scheme({"token": r"[\w-]{20,}", "expires": _DIGITS}, "token expires token_path"),
    _Scheme({"token": r"[\w-]{20,}", "expire": _DIGITS}, "token expire"),
    _Scheme({"md5": r"[\w-]{22}", "expires": _DIGITS}, "md5 expires"),
    _Scheme({"st": r"[\w-]{22}", "e": _DIGITS}, "st e"),
    _Scheme({"s": r"[0-9a-f]{32}", "expires": _DIGITS}, "s expires"),
    _Scheme({"signature": r"[0-9a-f]{40,128}", "expires": _DIGITS}, "signature expires"),
    # Services whose path names the file: Supabase, Firebase, Discord, SharePoint
    _Scheme({"token": r"[\w-]+\.[\w-]+\.[\w-]+"}, "token", path="/object/sign/"),
    _Scheme({"token": _ANY, "alt": r"media"}, "token", hosts=("firebasestorage.googleapis.com",)),
    _Scheme({"ex": _ANY, "hm": _ANY}, "ex is hm", hosts=("discordapp.com", "discordapp.net")),
    _Scheme({"tempauth": _ANY}, "tempauth"),
)  # fmt: skip

_BY_NAME: dict[str, list[_Scheme]] = {}
for _scheme in _SCHEMES:
    _BY_NAME.setdefault(next(iter(_scheme.marks)), []).append(_scheme)

_PERHAPS = re.compile(
    rf"[?&](?:{'|'.join(sorted({re.escape(next(iter(scheme.marks))) for scheme in _SCHEMES}))})=|%",
    re.IGNORECASE,
)
"""What every signed link holds: nearly all others are passed over with one search."""


@lru_cache(maxsize=256)
def unsigned(url: str) -> str:
    """Return a URL without its signature; one that has none comes back as it is."""
    if "?" not in url or not _PERHAPS.search(url):
        return url
    whole, mark, fragment = url.partition("#")
    base, _, query = whole.partition("?")
    parts = query.split("&")
    named = [unquote(part.partition("=")[0]).lower() for part in parts]
    values = {name: unquote(part.partition("=")[2]) for name, part in zip(named, parts, strict=True)}
    signing = [scheme for name in values for scheme in _BY_NAME.get(name, ()) if _signs(scheme, base, values)]
    if not signing:
        return url
    kept = [part for name, part in zip(named, parts, strict=True) if not any(_owns(s, name) for s in signing)]
    return base + ("?" + "&".join(kept) if kept else "") + mark + fragment


_PRIVATE = ("local", "internal", "intranet", "lan", "home", "corp", "localhost", "localdomain", "home.arpa")
"""Ends of names that only a local network knows (RFC 6761, 6762, 8375, and what routers and firms call theirs)."""


@lru_cache(maxsize=1024)
def is_private_host(host: str) -> bool:
    """Return whether nobody outside reaches a host, judged by its name or address alone: nothing is looked up."""
    import ipaddress  # noqa: PLC0415  start-up time

    name = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return "." not in name or name.endswith(tuple(f".{end}" for end in _PRIVATE))
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def without_query(url: str) -> str:
    """Return a URL up to its query."""
    return url.partition("?")[0]


def _signs(scheme: _Scheme, base: str, values: Mapping[str, str]) -> bool:
    if not all(re.fullmatch(form, values.get(name, ""), re.DOTALL) for name, form in scheme.marks.items()):
        return False
    if scheme.path and scheme.path not in base:
        return False
    return not scheme.hosts or _is_on(base, scheme.hosts)


def _is_on(base: str, hosts: tuple[str, ...]) -> bool:
    try:
        host = urlsplit(base).hostname or ""
    except ValueError:
        return False
    return any(host == known or host.endswith("." + known) for known in hosts)


def _owns(scheme: _Scheme, name: str) -> bool:
    return name in scheme.names.split() or bool(scheme.beginnings and name.startswith(scheme.beginnings))
