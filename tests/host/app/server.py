"""Answers with its environment and its user, once it has written to its data; fails on demand."""

import http.server
import json
import os
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request."""

    def do_GET(self) -> None:
        """Answer 503 if SICK is set, and take websockets at /stream."""
        if self.path == "/stream" and self.headers["Upgrade"] == "websocket":
            self.send_response_only(101)
            self.end_headers()
            return
        Path("/data/written").write_text("yes")
        body = json.dumps({"environment": dict(os.environ), "uid": os.getuid()}).encode()
        self.send_response(503 if "SICK" in os.environ else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if "BROKEN" in os.environ:
    raise SystemExit("cannot start: BROKEN is set")
http.server.HTTPServer(("", 8501), Handler).serve_forever()
