"""Calls on their socket: reading the body, answering with a Date, and the faults that spoil an answer.

A reset needs the socket itself, which ASGI does not hand out: `protocol_class` is uvicorn's own protocol that
notes each connection's transport under its peer address (asyncio's documented hooks only), where an Exchange finds
it. RST is SO_LINGER with zero seconds, then abort. After a connection was cut here we wait until uvicorn has seen
it, since it would answer 500 for us otherwise.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from batch.local.answers import Answer
    from batch.local.service import Service

RESET = struct.pack("ii", 1, 0)


def protocol_class(wires: dict[tuple[str, int], asyncio.Transport]) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, keeping `wires` up to date."""

    class WireProtocol(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # uvicorn picks it at import
        def connection_made(self, transport: asyncio.Transport) -> None:
            self._peer = transport.get_extra_info("peername")
            wires[self._peer] = transport
            # asyncio does this only for listeners made with IPPROTO_TCP; without it each answer waits 40 ms
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            wires.pop(self._peer, None)
            super().connection_lost(exc)

    return WireProtocol


class Exchange:
    """One request and its answer on one connection."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self.service = service
        self.scope = scope
        self._receive = receive
        self._send = send

    @property
    def wire(self) -> asyncio.Transport:
        """The connection; KeyError when the client has gone."""
        return self.service.wires[tuple(self.scope["client"])]

    @property
    def open(self) -> bool:
        """Whether there is somebody left to answer."""
        return tuple(self.scope["client"]) in self.service.wires and not self.wire.is_closing()

    async def body(self, limit: int) -> bytes | None:
        """Return the request's body, None when it has more than `limit` bytes or the client has gone."""
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > limit:
                return None
            if not message.get("more_body"):
                return bytes(body)

    async def answer(self, answer: Answer, skew_s: float = 0.0) -> None:
        """Send an answer; `skew_s` more on its Date."""
        await self.head(answer, len(answer.body), skew_s)
        await self.part(answer.body, last=True)

    async def head(self, answer: Answer, length: int | None, skew_s: float = 0.0) -> None:
        """Send status and headers, announcing `length` bytes, None for an open end."""
        told = formatdate(self.service.told_time() + skew_s, usegmt=True)
        headers: list[tuple[bytes, bytes]] = [
            (b"date", told.encode()),
            (b"content-type", answer.content_type.encode()),
        ]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers]
        start: dict[str, Any] = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await self._send(start)

    async def part(self, data: bytes, *, last: bool) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the server lives."""
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self.service.closing.wait()
            except TimeoutError:
                return

    async def reset(self) -> None:
        """Cut the connection with a RST."""
        if self.open:
            sock: socket.socket = self.wire.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.wire.abort()
        await self.gone()

    async def hang_up(self, last_words: bytes = b"") -> None:
        """Close the connection cleanly, after some raw bytes."""
        if self.open:
            if last_words:
                self.wire.write(last_words)
            self.wire.close()
        await self.gone()

    async def gone(self) -> None:
        """Wait until the connection has ended."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def abandoned(self) -> None:
        """Say nothing until the client goes or the server closes."""
        gone = asyncio.ensure_future(self.gone())
        closing = asyncio.ensure_future(self.service.closing.wait())
        await asyncio.wait({gone, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not gone.done():
            gone.cancel()
            await asyncio.wait({gone})
            await self.hang_up()
