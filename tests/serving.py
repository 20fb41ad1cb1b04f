"""A server on this machine, for as long as a block lasts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Answering(BaseHTTPRequestHandler):
    """A handler that writes whole answers, and no log."""

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, size: int | None = None):
        """A status and a body; only the headers where these are asked for.

        Args:
            status: Of HTTP.
            body: What a GET gets.
            headers: More than its length.
            size: Length that is said, if it is another.
        """
        self.send_response(status)
        length = len(body) if size is None else size
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address at which a handler answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
