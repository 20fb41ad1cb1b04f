import ssl

import httpx2
import pytest

from sae_match.errors import UserError
from sae_match.hub import hub_errors
from sae_match.network import environment_trouble, usable_environment

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_a_sound_environment_is_no_trouble():
    assert environment_trouble() is None


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "SSL_CERT_FILE",
            "/nonexistent/ca.pem",
            r"SSL_CERT_FILE=/nonexistent/ca.pem holds .*No such file",
        ),
        ("ALL_PROXY", "nonsense://me:pass-word@host", r"\(ALL_PROXY\): it must be like http://host:port"),
        ("https_proxy", "http://pass-word:port", r"\(https_proxy\): it must be like"),
    ],
)
def test_trouble_names_the_variable_and_no_password(monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words) as caught, usable_environment():
        httpx2.Client()
    assert "\n" not in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_a_socks_proxy_says_what_it_needs(monkeypatch):
    """Whether or not the package that it needs is installed."""
    monkeypatch.setenv("ALL_PROXY", "socks5://host:1080")
    with pytest.raises(UserError, match=r"\(ALL_PROXY\).*pip install socksio"), usable_environment():
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")


@pytest.mark.parametrize("error", [ImportError("no socksio"), ssl.SSLError(1, "no certificate"), ValueError("scheme")])
def test_the_hub_says_the_same_in_the_same_words(monkeypatch, error):
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/ca.pem")
    with pytest.raises(UserError, match=r"\ASSL_CERT_FILE=/nonexistent/ca.pem"), hub_errors("owner/name"):
        raise error


def test_what_is_no_matter_of_the_environment_stays_what_it_is():
    with pytest.raises(ValueError, match=r"\Aanother\Z"), hub_errors("owner/name"):
        raise ValueError("another")
    with pytest.raises(UserError, match="cannot reach the hub for owner/name: cut"), hub_errors("owner/name"):
        raise OSError("cut")
