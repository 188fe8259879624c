"""Serve until killed, or until stdin ends: `python -m counting OPTIONS` with the options as JSON; prints its port."""

from __future__ import annotations

import asyncio
import socket
import sys

from counting.options import Options
from counting.service import Service
from counting.wire import Wire


async def main(options: Options) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind((options.host, 0))
        port = listener.getsockname()[1]
        service = Service(options, f"http://{options.host}:{port}")
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Wire(service), sock=listener, backlog=1024)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        async with server:
            await loop.run_in_executor(None, sys.stdin.read)  # whoever started it is gone when this ends


asyncio.run(main(Options.from_json(sys.argv[1])))
