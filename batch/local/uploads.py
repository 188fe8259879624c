"""The upload host and the host of the files: several data URLs in, as many file URLs out; files without a key.

The same bytes sent twice get two URLs, as at the vendor: whoever wants one upload only must remember it.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from batch.local.answers import Answer, as_json, page, refusal
from batch.local.checks import Refused, read_object
from batch.local.sources import Unavailable, split_data_url

if TYPE_CHECKING:
    from batch.local.calls import Call
    from batch.local.service import Service

MAX_FILES = 32


async def upload(service: Service, call: Call) -> Answer:
    """Store the files of `data_urls` and answer their URLs, in order."""
    body = await asyncio.to_thread(read_object, call.content_type, call.body)
    urls = body.get("data_urls")
    if not isinstance(urls, list) or not 1 <= len(urls) <= MAX_FILES:
        raise Refused(refusal(400, f"data_urls must be a list of 1 to {MAX_FILES} data URLs"))
    try:
        parts = [await asyncio.to_thread(split_data_url, url if isinstance(url, str) else "") for url in urls]
    except Unavailable as reason:
        raise Refused(refusal(400, f"data_urls: {reason}")) from reason
    answer = []
    for content_type, data in parts:
        stored = await asyncio.to_thread(service.files.keep, data, "assets", content_type, service.clock())
        service.stats.uploaded[hashlib.sha256(data).hexdigest()] += 1
        answer.append(service.file_url("assets", stored.name))
    return as_json({"file_urls": answer, "message": "Files uploaded successfully"})


async def download(service: Service, call: Call) -> Answer:
    """Give the bytes of an upload or an output; HTML when there is no such file (any more)."""
    if b"x-api-key" in call.headers or b"authorization" in call.headers:
        service.stats.files_with_key += 1
    now, lifetime_s = service.clock(), service.settings.output_lifetime_s
    stored = service.files.find(call.params["folder"], call.params["name"], now, lifetime_s)
    if stored is None:
        return page(404, "Not Found")
    return Answer(200, service.files.path(stored).read_bytes(), stored.content_type)
