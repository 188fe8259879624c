"""A server that speaks raw bytes, so that a test can do on the wire what no web framework lets it do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import support

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from batch.core.config import Service

KEY = "SG_0123456789abcdef"


@dataclass
class Call:
    """One request as it came, and the connection it came on."""

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int
    writer: asyncio.StreamWriter = field(repr=False)
    reader: asyncio.StreamReader = field(repr=False)

    async def answer(self, status: int = 200, body: bytes | object = b"{}", **headers: str) -> None:
        """Send a whole answer and keep the connection."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-length": str(len(data))} | {n.replace("_", "-"): v for n, v in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data)

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Send RST: the peer sees the connection break."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def finish(self) -> None:
        """Send FIN."""
        self.writer.close()


class RawServer:
    """Listens on 127.0.0.1, reads whole requests and hands each to `handle`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.handle: Callable[[Call], Awaitable[None]] = lambda call: call.answer()
        self.connections = 0
        self.url = ""

    @property
    def service(self) -> Service:
        """This server as the service."""
        return support.service_at(self.url, api_key=KEY)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        number = self.connections
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                call = Call(head[0], headers, body, number, writer, reader)
                self.calls.append(call)
                await self.handle(call)
        writer.close()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[RawServer]:
    """Start a server; every connection is closed at the end."""
    raw, tasks = RawServer(), set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await raw.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture(autouse=True)
def short_pauses(waits: Callable[..., None]) -> None:
    """Wait a tenth as long between attempts."""
    waits(**support.A_TENTH)


@pytest.fixture
async def server(anyio_backend: str, quick_certificates: None) -> AsyncIterator[RawServer]:
    """A raw server that answers 200 and an empty object until it is told otherwise."""
    async with listening() as raw:
        yield raw


@pytest.fixture
async def elsewhere(anyio_backend: str) -> AsyncIterator[RawServer]:
    """Another host."""
    async with listening() as raw:
        yield raw
