"""What stands in the way of a judge is known before anything is asked."""

import gzip
import socket
import time
import tracemalloc
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from sae_match.errors import UserError
from sae_match.semantics.judge import JudgeSettings, open_judge
from sae_match.semantics.judge.server.reading import LONGEST
from tests.semantics.judge.conftest import PAIRS, settings_for
from tests.semantics.judge.mini_server import refused, same_words

OFFICIAL = JudgeSettings("openai", "gpt-4o-mini")


@pytest.fixture
def deaf():
    """Address of a port that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def test_a_server_that_is_there_is_no_obstacle_and_is_not_called(serve, ask):
    server = serve(lambda *_: refused(401))
    judge = ask(server)
    assert judge.obstacle() is None
    # It says 404 to this, and that is an answer.
    assert server.looks == ["/v1/models"]
    assert server.requests == []
    assert judge.account.calls == 0


def test_a_missing_key_is_said_at_once_where_nothing_is_answered(tmp_path):
    with pytest.raises(UserError, match=r"no key in OPENAI_API_KEY.*judge.base_url"):
        open_judge(OFFICIAL, tmp_path).obstacle()


def test_a_server_that_is_not_there_is_said_at_once_where_nothing_is_answered(serve, ask):
    server = serve()
    server.__exit__()
    with pytest.raises(UserError, match=f"cannot reach {server.url}: .*refused"):
        ask(server).obstacle()


def test_what_is_answered_needs_no_server(serve, ask):
    server = serve()
    before = ask(server).judge(PAIRS)
    server.__exit__()
    judge = ask(server)
    assert judge.obstacle().startswith(f"cannot reach {server.url}")
    assert judge.judge(PAIRS) == before
    # Another round has answers of its own, and none yet.
    with pytest.raises(UserError, match="cannot reach"):
        ask(server, again=1).obstacle()


def test_what_is_answered_needs_no_key(serve, tmp_path, monkeypatch):
    """A server on this machine stands for OpenAI's own, the one that is never asked without a key."""
    server = serve()
    monkeypatch.setattr("sae_match.semantics.judge.settings.OFFICIAL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    before = open_judge(OFFICIAL, tmp_path).judge(PAIRS)
    monkeypatch.delenv("OPENAI_API_KEY")
    judge = open_judge(OFFICIAL, tmp_path)
    assert "no key in OPENAI_API_KEY" in judge.obstacle()
    assert judge.judge(PAIRS) == before
    assert server.looks == []


def test_a_server_that_is_slow_to_answer_is_there(deaf, tmp_path):
    settings = JudgeSettings("openai", "m", base_url=deaf, timeout=0.2)
    start = time.monotonic()
    assert open_judge(settings, tmp_path).obstacle() is None
    # Far less than the minute that a judge has by itself; the machine may be busy.
    assert time.monotonic() - start < 20


def test_one_that_lets_nobody_in_is_not(deaf, tmp_path):
    """It says nothing to the greeting that TLS begins with, so that nothing can be asked."""
    url = deaf.replace("http:", "https:")
    with pytest.raises(UserError, match=rf"cannot reach {url}: no connection within 0.2 s"):
        open_judge(JudgeSettings("openai", "m", base_url=url, timeout=0.2), tmp_path).obstacle()


def test_the_look_goes_through_the_proxy_of_the_environment(serve, tmp_path, monkeypatch):
    proxy = serve()
    settings = JudgeSettings("openai", "m", base_url="http://elsewhere.invalid/v1")
    monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
    assert open_judge(settings, tmp_path).obstacle() is None
    assert proxy.looks == ["http://elsewhere.invalid/v1/models"]
    monkeypatch.setenv("http_proxy", "nonsense://proxy")
    with pytest.raises(UserError, match="the proxy that the environment names cannot be used"):
        open_judge(settings, tmp_path).obstacle()


@pytest.mark.parametrize("url", ["localhost:8000", "http://"])
def test_an_address_that_is_none_is_refused_whatever_is_answered(tmp_path, url):
    with pytest.raises(UserError, match="base_url"):
        open_judge(JudgeSettings("openai", "m", base_url=url), tmp_path)


def test_a_key_that_is_none_is_refused_whatever_is_answered(serve, tmp_path, monkeypatch):
    open_judge(settings_for(serve()), tmp_path).judge(PAIRS)
    monkeypatch.setenv("OPENAI_API_KEY", "ключ")
    with pytest.raises(UserError, match="OPENAI_API_KEY holds no key") as caught:
        open_judge(settings_for(serve(), key_variable="OPENAI_API_KEY"), tmp_path)
    assert "ключ" not in str(caught.value)


def test_a_judge_that_calls_nobody_meets_no_obstacle(tmp_path):
    assert open_judge(JudgeSettings(), tmp_path).obstacle() is None


def everlasting(kilobytes):
    """A server that sends a body in pieces until it was sent or nobody listens; how much was sent stands beside it."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(kilobytes << 10))
            self.end_headers()
            with suppress(OSError):
                for _ in range(kilobytes):
                    self.wfile.write(b"[" * 1024)
                    sent.append(1024)
            self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    return server, sent


def test_of_an_answer_without_end_no_more_is_read_than_any_answer_has(ask):
    server, sent = everlasting(kilobytes=200 << 10)
    with closing(server.socket):
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(UserError) as caught:
            ask(server, retries=0).judge(PAIRS[:1])
        server.shutdown()
    assert f"an answer of more than {LONGEST:,} bytes" in str(caught.value)
    # Of 200 MiB; the rest is what lay between the two on the way, in two orders.
    assert sum(sent) < 6 * LONGEST


@pytest.mark.parametrize(
    ("packed", "body", "reason"),
    [
        ("gzip", gzip.compress(b" " * (64 << 20)), "an answer of more than 16,256 bytes"),
        ("br", b"\0" * 10, r"an answer that is packed \(br\), which was not asked for"),
    ],
)
def test_a_packed_answer_that_would_fill_the_memory_is_not_unpacked(serve, ask, packed, body, reason):
    server = serve(lambda *_: (200, {"Content-Encoding": packed}, body))
    tracemalloc.start()
    with pytest.raises(UserError, match=reason):
        ask(server, retries=0).judge(PAIRS[:1])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 48 << 20
    assert {headers["Accept-Encoding"] for headers in server.headers} == {"identity"}


def test_an_answer_that_is_packed_all_the_same_is_read(serve, ask):
    def packed(request, number):
        status, headers, body = same_words(request, number)
        return status, {**headers, "Content-Encoding": "gzip"}, gzip.compress(body)

    assert [verdict.labels for verdict in ask(serve(packed)).judge(PAIRS)] == [(3, 3), (2, 2), (1, 1)]


SECRET = "sk-secret-0123456789"


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
def test_a_key_for_this_machine_goes_past_every_proxy(serve, tmp_path, monkeypatch, variable):
    server, proxy = serve(), serve()
    monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("MINE", SECRET)
    settings = JudgeSettings("openai", "m", base_url=server.url, key_variable="MINE")
    assert open_judge(settings, tmp_path).obstacle() is None
    assert (server.looks, proxy.looks) == (["/v1/models"], [])


def test_what_is_sent_goes_nowhere_but_to_the_address_that_was_named(serve, ask, monkeypatch):
    other = serve()
    moved = f"{other.url}/chat/completions?me={SECRET}"
    server = serve(lambda *_: (307, {"Location": moved}, b""))
    monkeypatch.setenv("MINE", SECRET)
    with pytest.raises(UserError, match=r"sends its callers elsewhere \(307\)") as caught:
        ask(server, key_variable="MINE").judge(PAIRS)
    assert other.requests == []
    assert SECRET not in str(caught.value)
