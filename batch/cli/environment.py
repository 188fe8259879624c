"""The environment, read once: API key, hosts, proxies and certificates.

The key comes from --api-key-file, from SEGMIND_API_KEY, or from a `.env` beside the job, which is opened only when the
others give none; never from the command line, where every user of the machine could read it. Its shape is not checked.

Rule 1: a secret is passed to `mask` as soon as it is known, before anything can fail that might quote it. Rule 2: no error
quotes a file that holds a secret, or is chained to one raised while reading it: it names the file and the remedy.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from batch.core.config import HISTORY_URL, INFERENCE_URL, UPLOAD_URL, Network, Service, Timeouts
from batch.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

API_KEY_VARIABLE = "SEGMIND_API_KEY"
MOST_BYTES = 1 << 20
"""Largest size of a file that holds a key; a longer file is something else."""

TIMEOUTS = Timeouts()
"""Of every service that the environment names."""

_ASSIGNED = re.compile(rf"\s*(?:export\s+|set\s+|\$env:)?{API_KEY_VARIABLE}\s*[=:]\s*(.*)", re.IGNORECASE)


def read_service(beside: Path, api_key_file: Path | None, mask: Callable[..., None]) -> Service:
    """Return the service that the environment names; its key is empty when none is given.

    The three hosts have their own defaults; SEGMIND_BASE_URL replaces those of the hosts that are not set themselves.
    `mask` receives every secret at once. Raises UsageError.
    """
    key, source = _find_key(beside / ".env", api_key_file)
    mask(key)
    proxies = [url for scheme, url in urllib.request.getproxies().items() if scheme != "no"]
    mask(*proxies, *_passwords(proxies))
    if not (key.isascii() and key.isprintable()):
        raise UsageError(
            f"{source}: the API key holds a character that no HTTP header can carry. Copy it again, as plain text."
        )
    base = os.environ.get("SEGMIND_BASE_URL")
    return Service(
        inference_url=base or INFERENCE_URL,
        upload_url=os.environ.get("SEGMIND_UPLOAD_URL") or base or UPLOAD_URL,
        history_url=os.environ.get("SEGMIND_HISTORY_URL") or base or HISTORY_URL,
        api_key=key,
        network=read_network(),
        timeouts=TIMEOUTS,
    )


def beside_output(folder: Path) -> Path:
    """Return the folder of an output folder's `.env`: itself, or its parent, where its manifest usually is."""
    return folder if (folder / ".env").is_file() else folder.absolute().parent


def read_network() -> Network:
    """Return the proxies and the CA bundle that the usual variables name."""
    proxies = urllib.request.getproxies()
    no_proxy = tuple(proxies.pop("no", "").replace(",", " ").split())
    return Network(proxies, no_proxy, os.environ.get("SSL_CERT_FILE") or None)


def _find_key(dotenv: Path, api_key_file: Path | None) -> tuple[str, str]:
    """Return the key, empty when none is given, and where it was found; raises UsageError."""
    if api_key_file is not None:
        return _key_in(api_key_file), f"--api-key-file {api_key_file}"
    key = os.environ.get(API_KEY_VARIABLE, "").strip()
    if key or not dotenv.is_file():
        return key, API_KEY_VARIABLE
    from dotenv import dotenv_values  # noqa: PLC0415  start-up time

    values = dotenv_values(stream=io.StringIO(_text_of(dotenv, str(dotenv))))
    return (values.get(API_KEY_VARIABLE) or "").strip(), str(dotenv)


def _key_in(file: Path) -> str:
    """Return the key of a file that holds it alone, or as a line `SEGMIND_API_KEY=…`."""
    source = f"--api-key-file {file}"
    lines = [line.strip() for line in _text_of(file, source).splitlines() if line.strip()]
    found = [assigned[1] for assigned in map(_ASSIGNED.fullmatch, lines) if assigned]
    if not found:
        found = lines if len(lines) == 1 else [line for line in lines if not line.startswith("#")]
    keys = {_unquoted(key) for key in found} - {""}
    if not keys:
        raise UsageError(f"{source}: contains no key. Write the key into it, alone on one line.")
    if len(keys) > 1:
        raise UsageError(f"{source}: contains {len(found)} lines. Leave only the key in it, on one line.")
    return keys.pop()


def _unquoted(text: str) -> str:
    """Return a value without the quotes around it."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1].strip()
    return text


def _text_of(file: Path, source: str) -> str:
    """Return the text of a file that holds a secret: UTF-8, or UTF-16 as PowerShell writes it; other bytes as U+FFFD.

    Raises UsageError, not chained to an error that holds the file's bytes.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{source}: cannot be read ({exc.strerror}).") from None
    if len(data) > MOST_BYTES:
        raise UsageError(f"{source}: is too large to be a file with a key.")
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data:  # UTF-16 without its mark: every other byte of a key is zero
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    return data.decode(encoding, errors="replace")


def _passwords(proxies: Iterable[str]) -> Iterator[str]:
    """Yield the passwords in proxy URLs, as written and decoded."""
    for proxy in proxies:
        with suppress(ValueError):
            if password := urlsplit(proxy).password:
                yield from {password, unquote(password)}
