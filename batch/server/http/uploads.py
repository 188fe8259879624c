"""The upload host and the host of the files: several data URLs in, as many file URLs out; files without a key.

The same bytes sent twice get two URLs, as at the vendor: a client that wants one upload only must remember its URL.
"""

import asyncio
import hashlib

from batch.server.http.request import Call, read_object
from batch.server.inputs import Unavailable, split_data_url
from batch.server.simulation.responses import Answer, RequestRefused, as_json, page, refusal
from batch.server.state import ServerState

MAX_FILES = 32


async def upload(server: ServerState, call: Call) -> Answer:
    """Store the files of `data_urls` and answer with their URLs, in order."""
    body = await asyncio.to_thread(read_object, call.headers.get("content-type"), call.body)
    urls = body.get("data_urls")
    if not isinstance(urls, list) or not 1 <= len(urls) <= MAX_FILES:
        raise RequestRefused(refusal(400, f"data_urls must be a list of 1 to {MAX_FILES} data URLs"))
    try:
        parts = [await asyncio.to_thread(split_data_url, url if isinstance(url, str) else "") for url in urls]
    except Unavailable as reason:
        raise RequestRefused(refusal(400, f"data_urls: {reason}")) from reason
    answer = []
    for content_type, data in parts:
        stored = await asyncio.to_thread(server.files.keep, data, "assets", content_type, server.clock())
        server.stats.uploaded[hashlib.sha256(data).hexdigest()] += 1
        answer.append(server.file_url("assets", stored.name))
    return as_json({"file_urls": answer, "message": "Files uploaded successfully"})


async def download(server: ServerState, call: Call) -> Answer:
    """Answer with the bytes of an upload or an output; with HTML when there is no such file (any more)."""
    if "x-api-key" in call.headers or "authorization" in call.headers:
        server.stats.files_with_key += 1
    stored = server.find_file(call.params["folder"], call.params["name"])
    if stored is None:
        return page(404, "Not Found")
    return Answer(200, server.files.read(stored), stored.content_type)
