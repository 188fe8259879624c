"""A plugin of proxy.py: writes every request that a proxy is asked for into a file, one JSON line each."""

import json
import os
from pathlib import Path

from proxy.http.proxy import HttpProxyBasePlugin


class Hearing(HttpProxyBasePlugin):
    """Hears requests to be sent on, and tunnels to be made (CONNECT)."""

    def handle_client_request(self, request):
        names = request.headers or {}
        line = {
            "method": request.method.decode(),
            "host": (request.host or b"").decode(),
            "port": request.port,
            "path": (request.path or b"").decode(),
            "headers": sorted(name.decode().lower() for name in names),
        }
        with Path(os.environ["HEARD"]).open("a") as file:
            file.write(json.dumps(line) + "\n")
        return request
