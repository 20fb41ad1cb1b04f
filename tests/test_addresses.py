import pytest

from sae_match.addresses import Key, is_at, is_here, key_for, refuse_bad_address
from sae_match.errors import UserError


@pytest.mark.parametrize("address", ["https://host", "http://host:8000/v1", "https://[::1]:8000/v1"])
def test_an_address_of_a_server_passes(address):
    refuse_bad_address("judge.base_url", address)


@pytest.mark.parametrize("address", ["", "host:8000", "http://", "ftp://host", "http://[::1", "http://a:port", "/v1"])
def test_what_is_no_address_is_refused_by_the_name_of_its_setting(address):
    with pytest.raises(UserError, match=r"no address.*judge.base_url|judge.base_url is no address"):
        refuse_bad_address("judge.base_url", address)


@pytest.mark.parametrize("address", ["https://me:pass-word@host/v1", "https://pass-word@host/v1", "//pass-word@host"])
def test_a_password_in_an_address_is_refused_and_not_shown(address):
    with pytest.raises(UserError, match=r"descriptions.api holds a name or a password") as caught:
        refuse_bad_address("descriptions.api", address)
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://api.openai.com/v1", True),
        ("https://EU.api.openai.com/v1", True),
        ("https://api.openai.com.example.org/v1", False),
        ("https://evilapi.openai.com/v1", False),
        ("https://example.org/api.openai.com", False),
    ],
)
def test_a_host_is_known_by_its_whole_name(address, expected):
    assert is_at(address, "api.openai.com") is expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://localhost:1/v1", True),
        ("http://127.0.0.9/v1", True),
        ("http://[::1]/v1", True),
        ("http://localhost.example.org/v1", False),
        ("http://10.0.0.1/v1", False),
    ],
)
def test_this_machine_is_told_from_others(address, expected):
    assert is_here(address) is expected


def test_a_key_goes_in_the_open_to_this_machine_only(monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-secret-secret")
    assert key_for("http://127.0.0.1:8000/v1", "judge.base_url", "A_KEY").value == "sk-secret-secret"
    assert key_for("https://host/v1", "judge.base_url", "A_KEY").value == "sk-secret-secret"
    with pytest.raises(UserError, match=r"judge.base_url=http://host/v1 .* key in A_KEY in the open") as caught:
        key_for("http://host/v1", "judge.base_url", "A_KEY")
    assert "sk-secret" not in str(caught.value)


def test_without_a_key_plain_http_is_no_matter(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    assert key_for("http://host/v1", "judge.base_url", "A_KEY").value == ""
    assert key_for("http://host/v1", "judge.base_url", None).value == ""


def test_a_key_is_taken_out_of_whatever_strings_it_stands_in():
    key = Key("A_KEY", "sk-secret")
    said = {"sk-secret": ["a sk-secret b", 1, None, {"x": "sk-secret"}]}
    assert key.withheld(said) == {"[key]": ["a [key] b", 1, None, {"x": "[key]"}]}
    assert "sk-secret" not in repr(key)


def test_a_key_that_is_none_takes_nothing_out():
    assert Key(None).withheld("a text") == "a text"
    assert Key("A_KEY", "x").withheld("a text, x") == "a text, x"
