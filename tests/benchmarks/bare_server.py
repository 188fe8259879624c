"""The least HTTP server there is, for comparing clients: every request is answered at once with the same status."""

import asyncio

BODY = b'{"status": "PROCESSING", "request_id": "6f1c1e0e5f3b4a0a8f6d2a1b3c4d5e6f", "poll_url": "https://h/v2/x/status"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Oct 2026 10:00:00 GMT\r\ncontent-type: application/json\r\n"
    b"x-rate-limit-remaining: 55\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class Answering(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport):
        self.transport, self.heard = transport, b""

    def data_received(self, data):
        self.heard += data
        while (end := self.heard.find(b"\r\n\r\n") + 4) > 3:
            head = self.heard[:end].lower()
            _, found, length = head.partition(b"\r\ncontent-length:")
            end += int(length.split(b"\r\n", 1)[0]) if found else 0
            if len(self.heard) < end:
                return
            self.heard = self.heard[end:]
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  to who started it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
