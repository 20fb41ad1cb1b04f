"""A server on this machine that speaks as much of OpenAI's protocol as a judge needs."""

import json
import re
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread

DESCRIPTION = re.compile(r"<description>(.*?)</description>", re.DOTALL)
USAGE = {"prompt_tokens": 400, "completion_tokens": 20, "total_tokens": 420}


class MiniServer:
    """Answers until the block is left.

    Args:
        answers: Makes status, headers and body of a request's body and of how many came before it; a body that
            is none is never sent.
    """

    def __init__(self, answers):
        self.answers = answers
        self.requests, self.keys, self.looks, self.headers = [], [], [], []
        self.now = self.peak = 0
        self.lock, self.closing = Lock(), Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    @property
    def asked(self):
        """How often each order of each pair was asked."""
        return Counter(descriptions(request) for request in self.requests)

    def __enter__(self):
        Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, key, request):
        with self.lock:
            number = len(self.requests)
            self.requests.append(request)
            self.keys.append(key)
            self.now += 1
            self.peak = max(self.peak, self.now)
        try:
            return self.answers(request, number)
        finally:
            with self.lock:
                self.now -= 1


def descriptions(request):
    """The two descriptions of a request, in its order."""
    return tuple(DESCRIPTION.findall(request["messages"][-1]["content"])[-2:])


def completion(message, usage=USAGE, finish_reason="stop"):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def said(content, **options):
    """The model says this."""
    return 200, {}, json.dumps(completion({"content": content}, **options)).encode()


def labelled(label):
    """The model gives this label, as asked: structured."""
    return said(json.dumps({"reason": "So it is.", "label": label}))


def refused(status, message="no", headers=None, **details):
    """The server answers with an error."""
    return status, headers or {}, json.dumps({"error": {"message": message, **details}}).encode()


def same_words(request, _number=0):
    """A judge that looks at words: 3 for the same text, 2 for a common word, 1 otherwise."""
    first, second = (set(text.split()) for text in descriptions(request))
    return labelled(3 if first == second else 2 if first & second else 1)


def _handler(mini):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/chat/completions":
                status, headers, body = refused(404)
            else:
                mini.headers.append(dict(self.headers))
                status, headers, body = mini.answer(self.headers.get("Authorization"), request)
            if body is None:
                mini.closing.wait(30)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers, "Content-Length": len(body)}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            mini.looks.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    return Handler
