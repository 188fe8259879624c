"""An Answer as the HTTP response that is sent, with the Date of this server's clock."""

from email.utils import formatdate

from aiohttp import web

from batch.server.simulation.responses import Answer
from batch.server.state import ServerState


def headers(server: ServerState, answer: Answer, skew_s: float = 0.0) -> list[tuple[str, str]]:
    """Return all header fields but Content-Length; the Date is `skew_s` ahead of the server's clock."""
    date = formatdate(server.reported_time() + skew_s, usegmt=True)
    return [("date", date), ("content-type", answer.content_type), *answer.headers]


def respond(server: ServerState, answer: Answer, skew_s: float = 0.0) -> web.Response:
    """Return the response that sends this answer."""
    return web.Response(status=answer.status, body=answer.body, headers=headers(server, answer, skew_s))
