import sqlite3

import pytest

from sae_match.semantics.judge import Described, JudgeSettings, open_judge
from sae_match.semantics.judge.server.store import FILE
from tests.semantics.judge.mini_server import MiniServer, same_words

PAIRS = [
    (Described("red apples"), Described("red apples")),
    (Described("red apples"), Described("green apples")),
    (Described("red apples"), Described("legal terms")),
]


@pytest.fixture(autouse=True)
def _nobody_elses_account(monkeypatch):
    """No key and no address of whoever runs the tests; nothing on this machine goes through a proxy."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve():
    """Starts servers that are stopped at the end."""
    running = []

    def start(answers=same_words):
        running.append(MiniServer(answers).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


def settings_for(server, **options):
    """Quick to try again and to give up."""
    options = {"backoff": 0.01, "timeout": 5.0, "retries": 3, "concurrency": 4, **options}
    return JudgeSettings("openai", "a-model", base_url=server.url, **options)


@pytest.fixture
def ask(tmp_path):
    """A judge that asks a server, with answers kept below `tmp_path`."""
    return lambda server, **options: open_judge(settings_for(server, **options), tmp_path / "judge")


def made_up(count):
    """Different pairs of descriptions."""
    return [(Described(f"thing {index}"), Described(f"other {index}")) for index in range(count)]


def spent_in_all(folder):
    """Dollars of all calls that were ever recorded, as the README says how to look them up."""
    with sqlite3.connect(folder / FILE) as database:
        (total,) = database.execute("select sum(cost) from calls").fetchone()
    database.close()
    return total
