import logging
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sae_match.addresses import Key
from sae_match.errors import UserError
from sae_match.semantics.neuronpedia.pace import Pace
from sae_match.semantics.neuronpedia.polite import Manners, PoliteClient, RefusedError
from tests.semantics.mini_neuronpedia import MiniNeuronpedia

QUICK = Manners(timeout=0.3, tries=3, back_off=0.01)
PATH = "/file"


def get(server, manners=QUICK, read=bytes.decode, **options):
    return PoliteClient(manners, **options).get(f"{server.address}{PATH}", read)


def serving(*trouble, **options):
    return MiniNeuronpedia({"file": b"ships"}, trouble={PATH: trouble}, **options)


def numbers(text):
    if text != b"ships":
        raise UserError(f"there: {text!r} is no fleet")
    return 5


def test_an_answer_is_read_and_nothing_is_none():
    with serving() as server:
        assert get(server) == "ships"
        assert PoliteClient(QUICK).get(f"{server.address}/other", bytes.decode) is None
        assert server.asked == [PATH, "/other"]
        assert server.headers[0]["user-agent"].startswith("sae-match/")


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_trouble_that_passes_is_waited_out(status):
    with serving((status, {}, b""), (status, {}, b"")) as server:
        assert get(server) == "ships"
        assert len(server.asked) == 3


def test_each_wait_is_longer_than_the_one_before():
    with serving(*[(500, {}, b"")] * 4) as server:
        assert get(server, Manners(1.0, 5, back_off=0.1)) == "ships"
        waits = [later - earlier for earlier, later in zip(server.times, server.times[1:], strict=False)]
    for wait, expected in zip(waits, (0.1, 0.2, 0.4, 0.8), strict=True):
        assert 0.5 * expected <= wait < 1.5 * expected + 1.0


def test_trouble_that_stays_is_named_after_as_many_tries_as_there_are():
    with serving(*[(500, {}, b"")] * 9) as server:
        with pytest.raises(
            UserError, match=r"/file: the server is in trouble, internal server error \(500\) \(after 3"
        ):
            get(server)
        assert len(server.asked) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_has_too_many_requests_is_given_the_time_that_it_asks_for(form, caplog):
    caplog.set_level(logging.INFO)
    # A date has whole seconds: the one after next is one to two seconds away.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    asked = {"seconds": "1", "date": date}[form]
    with serving((429, {"Retry-After": asked}, b"")) as server:
        assert get(server) == "ships"
        assert 0.9 < server.times[1] - server.times[0] < 10
    assert "too many requests (429); asking again in" in caplog.text


def test_a_server_may_ask_for_a_part_of_a_second():
    with serving((429, {"Retry-After": "0.6"}, b"")) as server:
        assert get(server) == "ships"
        assert 0.6 <= server.times[1] - server.times[0] < 5


def test_a_senseless_time_to_wait_is_passed_over():
    with serving((429, {"Retry-After": "soon"}, b""), (429, {"Retry-After": "-5"}, b"")) as server:
        assert get(server) == "ships"


def test_a_server_that_asks_for_an_hour_is_left_in_peace():
    with serving((429, {"Retry-After": "3600"}, b"")) as server:
        with pytest.raises(UserError, match=r"too many requests \(429\); try again in 3600 s: what was answered is"):
            get(server)
        assert len(server.asked) == 1


def test_a_server_that_hangs_is_not_waited_for_without_end():
    with serving(5.0) as server:
        assert get(server) == "ships"
    with serving(5.0, 5.0, 5.0) as server, pytest.raises(UserError, match=r"no answer in 0.3 s \(after 3 tries\)"):
        get(server)


def test_an_answer_that_trickles_is_not_waited_for_without_end():
    def trickle(file):
        for _ in range(1000):
            file.write(b"x")
            file.flush()
            time.sleep(0.02)

    start = time.monotonic()
    with serving((200, {"Content-Length": "1000"}, trickle)) as server:
        with pytest.raises(UserError, match=r"/file: no whole answer in 1 s \(after 1 try\)"):
            get(server, Manners(timeout=0.1, tries=1))
        # The whole of it would take 20 s.
        assert time.monotonic() - start < 15


def test_an_answer_that_is_cut_off_is_asked_for_again():
    cut = (200, {"Content-Length": "500"}, b"shi")
    with serving(cut) as server:
        assert get(server) == "ships"
    with serving(*[cut] * 3) as server, pytest.raises(UserError, match="cannot be reached, peer closed connection"):
        get(server)


def test_an_answer_that_cannot_be_read_is_asked_for_again():
    garbage = (200, {}, b"<html>be right back</html>")
    with serving(garbage) as server:
        assert get(server, read=numbers) == 5
    with serving(*[garbage] * 3) as server, pytest.raises(UserError, match=r"back</html>' is no fleet \(after 3 tries"):
        get(server, read=numbers)


def test_a_dead_port_is_named():
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/: cannot be reached, .*try again later"):
        PoliteClient(QUICK).get("http://127.0.0.1:9/", bytes.decode)


@pytest.mark.parametrize("status", [400, 401, 403, 410, 418, 299])
def test_a_refusal_is_not_argued_with(status):
    with serving((status, {}, b"no")) as server:
        with pytest.raises(RefusedError, match=rf"/file: the server refuses, .* \({status}\)"):
            get(server)
        assert len(server.asked) == 1


def test_a_key_does_not_follow_a_redirect():
    with serving() as elsewhere, serving((302, {"Location": f"{elsewhere.address}{PATH}"}, b"")) as server:
        with pytest.raises(RefusedError, match=f"is elsewhere now, {elsewhere.address}"):
            get(server, key=Key("SECRET", "secret"))
        assert server.headers[0]["x-api-key"] == "secret"
        assert elsewhere.asked == []


def test_a_key_for_this_machine_goes_past_every_proxy(monkeypatch):
    with serving() as proxy, serving() as server:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.delenv("NO_PROXY", raising=False)
        get(server, key=Key("SECRET", "secret"))
        assert (proxy.asked, server.asked) == ([], [PATH])
        # Without one it goes as the environment says.
        get(server)
        assert len(server.asked) == 1


def test_compressed_files_arrive_as_they_are():
    packed = (200, {"Content-Encoding": "gzip"}, b"\x1f\x8bpacked")
    with serving(packed) as server:
        assert get(server, read=bytes) == b"\x1f\x8bpacked"


@pytest.mark.parametrize("changed", [{"timeout": 0.0}, {"tries": 0}, {"back_off": -1.0}])
def test_manners_are_checked(changed):
    with pytest.raises(UserError, match="descriptions: timeout must be positive, tries at least 1"):
        Manners(**changed)


def test_a_tenth_of_an_hours_requests_come_at_once_and_the_others_evenly(tmp_path, monkeypatch):
    class Clock:
        now = 1e9

        def time(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr("sae_match.semantics.neuronpedia.pace.time", clock)
    passed = []
    for _ in range(150):
        # Each as if by another process.
        Pace(tmp_path / "pace", 100.0).wait()
        passed.append(clock.now - 1e9)
    assert passed[:10] == [0.0] * 10
    assert passed[10:] == pytest.approx([36.0 * number for number in range(1, 141)])
    # After a quiet hour, the same again.
    clock.now += 3600
    quiet = clock.now
    for _ in range(10):
        Pace(tmp_path / "pace", 100.0).wait()
    assert clock.now == quiet


def test_a_pace_that_was_kept_wrongly_is_begun_anew(tmp_path):
    (tmp_path / "pace").write_text("yesterday")
    Pace(tmp_path / "pace", 100.0).wait()
    # A clock that was a year ahead: no more than an hour is waited for.
    (tmp_path / "pace").write_text(repr(time.time() + 3e7))
    assert Pace(tmp_path / "pace", 100.0)._claim() < 3600


def test_a_pace_that_cannot_be_kept_is_said(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "pace.lock").mkdir()
    for file in (tmp_path / "file" / "pace", tmp_path / "pace"):
        with pytest.raises(UserError, match=r"cannot write .*pace: .*; set descriptions\.cache_dir"):
            Pace(file, 100.0).wait()


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_is_positive(tmp_path, limit):
    with pytest.raises(UserError, match=r"descriptions\.requests_per_hour must be positive"):
        Pace(tmp_path / "pace", limit)


def test_an_answer_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("sae_match.semantics.neuronpedia.polite._LARGEST", 2**20)
    with MiniNeuronpedia(trouble={PATH: [(200, {}, b"x" * 2**21)]}) as server:
        with pytest.raises(UserError, match="the answer is longer than 1 MB"):
            get(server)
        assert len(server.asked) == 1
