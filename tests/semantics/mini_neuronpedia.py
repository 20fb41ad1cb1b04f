"""Neuronpedia on this machine: its bucket with listings and files, and its API, with trouble where it is wanted."""

import gzip
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, urlsplit

MODEL, SOURCE = "gemma-2-2b", "20-gemmascope-res-16k"
FOLDER = f"v1/{MODEL}/{SOURCE}"
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def row(index, description, **others):
    """A row of an export, with all that a real one has and nobody here needs."""
    return {
        "id": f"clx{index:0>6}",
        "modelId": MODEL,
        "layer": SOURCE,
        "index": str(index),
        "description": description,
        "authorId": "somebody",
        "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini",
        "embedding": [0.25, -0.5],
        **others,
    }


def lines(rows):
    return gzip.compress("".join(json.dumps(entry) + "\n" for entry in rows).encode())


def export(features, size=4, folder=FOLDER, **others):
    """Files of an export: rows ordered as text, so many a file."""
    ordered = sorted(map(str, range(features)))
    batches = [ordered[start : start + size] for start in range(0, features, size)]
    return {
        f"{folder}/explanations/batch-{number}.jsonl.gz": lines(
            [row(index, f"what {index} means", **others) for index in batch]
        )
        for number, batch in enumerate(batches)
    }


class MiniNeuronpedia:
    """Serves until the block is left.

    Args:
        files: Bytes of each file of the bucket.
        features: What the API says of each `model/source/index`.
        listing: Status of the answer to a question for a listing; 200 to answer it.
        page: Keys on a page of a listing.
        trouble: For each path, what is answered first, one after another: status, headers and body, or what writes
            the body; or seconds to wait before the true answer.
        delay: Seconds before each answer.
    """

    def __init__(self, files=None, features=None, *, listing=200, page=1000, trouble=None, delay=0.0):
        self.files, self.features, self.listing, self.page = files or {}, features or {}, listing, page
        self.trouble, self.delay = {path: list(answers) for path, answers in (trouble or {}).items()}, delay
        self.asked, self.headers, self.times = [], [], []
        self._lock = Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, target, headers):
        path = urlsplit(target).path
        with self._lock:
            self.asked.append("listing" if "list-type" in target else path)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self.times.append(time.monotonic())
            planned = self.trouble.get(self.asked[-1])
            first = planned.pop(0) if planned else self.delay
        if isinstance(first, tuple):
            return first
        time.sleep(first)
        if "list-type" in target:
            return self._list(parse_qs(urlsplit(target).query))
        if path.startswith("/api/feature/"):
            # The API says `null`, with status 200, of a feature that it does not know.
            return 200, {}, json.dumps(self.features.get(path.removeprefix("/api/feature/"))).encode()
        body = self.files.get(path.removeprefix("/"))
        return (404, {}, b"<Error><Code>NoSuchKey</Code></Error>") if body is None else (200, {}, body)

    def _list(self, query):
        if self.listing != 200:
            return self.listing, {}, b"<Error><Code>AccessDenied</Code></Error>"
        start = int(query.get("continuation-token", ["0"])[0])
        keys = sorted(key for key in self.files if key.startswith(query["prefix"][0]))
        more = start + self.page < len(keys)
        contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys[start : start + self.page])
        token = f"<NextContinuationToken>{start + self.page}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        body = f'<?xml version="1.0"?><ListBucketResult xmlns="{NAMESPACE}">{truncated}{token}{contents}'
        return 200, {}, f"{body}</ListBucketResult>".encode()


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                status, headers, body = server.answer(self.path, self.headers)
                self.send_response(status)
                length = {} if callable(body) else {"Content-Length": str(len(body))}
                for name, value in {**length, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if callable(body):
                    body(self.wfile)
                    return
                self.wfile.write(body)
                # More was promised: the connection ends before it.
                self.close_connection = "Content-Length" in headers
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_):
            pass

    return Handler
