"""A hub of two pages on this machine: what a dataset consists of, and ranges of its files."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "c0ffee" + "0" * 34
INFO = re.compile(r"/api/datasets/(?P<name>[^/?]+/[^/?]+)(?:/revision/(?P<revision>[^?]+))?(?:\?.*)?")
FILE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>[^?]+)(?:\?.*)?")


class MiniHub:
    """Serves datasets until the block is left.

    Args:
        datasets: Bytes of each file of each dataset.
        refusals: Status and headers of the answer to any question about a dataset.
        closed: Likewise for questions about the contents of a dataset's files alone.
        gated: Datasets that all may see and, until they accept its terms, none may read.
    """

    def __init__(self, datasets, refusals=None, closed=None, gated=()):
        self.datasets, self.refusals, self.closed, self.gated = datasets, refusals or {}, closed or {}, gated
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.sent = 0

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path, wanted_range):
        """Status, headers and body."""
        if match := FILE.fullmatch(path):
            return self._range(match["name"], match["path"], wanted_range)
        if path in [f"/api/datasets/{name}/auth-check" for name in self.gated]:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if match := INFO.fullmatch(path):
            return self._information(match["name"], match["revision"])
        return 404, {}, b""

    def _range(self, name, file, wanted_range):
        if name in self.closed:
            return (*self.closed[name], b"")
        start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", wanted_range).groups())
        body = self.datasets[name][file][start : end + 1]
        self.sent += len(body)
        return 206, {}, body

    def _information(self, name, revision):
        if name in self.refusals:
            return (*self.refusals[name], b"")
        if name not in self.datasets:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in {None, "main", COMMIT}:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = [{"rfilename": file, "size": len(body)} for file, body in self.datasets[name].items()]
        gated = "manual" if name in self.gated else False
        return 200, {}, json.dumps({"id": name, "sha": COMMIT, "gated": gated, "siblings": files}).encode()


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, headers, body = hub.answer(self.path, self.headers.get("Range", ""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
