"""HTTP/1.1 on an asyncio protocol, as little of it as the clients here need: kept connections, bodies with a length.

By hand because the machine's cores are shared with what is measured: an answer costs some 30 µs, a framework's 150.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counting.service import Service

LENGTH = b"content-length:"
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            length = _length(head)
            if not found or len(rest) < length:
                return
            self._received = rest[length:]
            method, path, _ = head.split(b" ", 2)
            self._answer(method.decode(), path.decode(), rest[:length])

    def _answer(self, method: str, path: str, body: bytes) -> None:
        status, data, content_type, headers = self._service.answer(method, path, body)
        head = (
            f"HTTP/1.1 {status} {PHRASES[status]}\r\ndate: {formatdate(self._service.now(), usegmt=True)}\r\n"
            f"content-type: {content_type}\r\n{headers}content-length: {len(data)}\r\n\r\n"
        )
        assert self._transport is not None
        self._transport.write(head.encode() + data)


def _length(head: bytes) -> int:
    lower = head.lower()
    at = lower.find(LENGTH)
    return int(lower[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0
