"""URLs of receivers: what is one, what is said of others, and what a message may show of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar import receiver
from stromboli.grammar.receiver import SCHEME_MEANT, URL_MEANT, USER_MEANT, Receiver

NO_ADDRESS = "which is not an address; write all of it, such as 192.0.2.1"


@pytest.mark.parametrize(
    ("url", "leads_to", "shown"),
    [
        ("https://example.com/hooks?token=s3cret", Receiver("https", "example.com", 443), "https://example.com"),
        ("http://example.com", Receiver("http", "example.com", 80), "http://example.com"),
        ("https://Example.COM:8443/a", Receiver("https", "example.com", 8443), "https://example.com:8443"),
        ("http://10.0.0.1?x", Receiver("http", "10.0.0.1", 80), "http://10.0.0.1"),
        ("http://[::1]:8080/", Receiver("http", "::1", 8080), "http://[::1]:8080"),
        ("http://[::FFFF:127.0.0.1]/", Receiver("http", "::ffff:127.0.0.1", 80), "http://[::ffff:127.0.0.1]"),
        ("https://example.com/a@b/~c;d='e'&f=%20", Receiver("https", "example.com", 443), "https://example.com"),
    ],
)
def test_a_url_leads_to_a_host(url: str, leads_to: Receiver, shown: str) -> None:
    found = receiver.parse(url)
    assert found == leads_to
    assert found.shown == shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", SCHEME_MEANT),
        ("example.com/hook", SCHEME_MEANT),
        ("/hook", SCHEME_MEANT),
        ("ftp://example.com/", SCHEME_MEANT),
        ("HTTPS://example.com/", SCHEME_MEANT),
        (" https://example.com/", SCHEME_MEANT),
        ("https://me:secret@example.com/", USER_MEANT),
        ("https://token@example.com", USER_MEANT),
        ("http://good.example\\@127.0.0.1/", USER_MEANT),
        ("http://", URL_MEANT),
        ("http:///hook", URL_MEANT),
        ("http://example.com:port/", URL_MEANT),
        ("https://example.com/a#b", URL_MEANT),
        ("https://example.com/a b", URL_MEANT),
        ("https://example.com/a\n", URL_MEANT),
        ("https://example.com/\r\nX-Header: y", URL_MEANT),
        ("https://example.com/ä", URL_MEANT),
        ("https://bücher.example/", URL_MEANT),
        ("http://[fe80::1%25eth0]/", URL_MEANT),
        ("http://[::1/", URL_MEANT),
        ("http://example.com\\.evil/", URL_MEANT),
        ("https://example.com/" + "a" * 2048, URL_MEANT),
        ("https://example.com:0/", "has the port 0; a port is 1 to 65535"),
        ("https://example.com:65536/", "has the port 65536; a port is 1 to 65535"),
        ("http://127.1/", f"has the host 127.1, {NO_ADDRESS}"),
        ("http://2130706433:8080", f"has the host 2130706433, {NO_ADDRESS}"),
        ("http://1.2.3.4./", f"has the host 1.2.3.4., {NO_ADDRESS}"),
        ("http://127.0.0.01/", f"has the host 127.0.0.01, {NO_ADDRESS}"),
        ("http://[127.0.0.1]/", f"has the host [127.0.0.1], {NO_ADDRESS}"),
        ("http://[1:2]/", f"has the host [1:2], {NO_ADDRESS}"),
    ],
)
def test_what_is_no_receiver_gets_a_sentence(url: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        receiver.parse(url)
    assert refusal.value.message == said


@given(st.text(st.sampled_from("htps:/@?#[]%.\\a1é \n"), max_size=24).map(lambda rest: f"http://{rest}"))
def test_each_url_is_refused_by_one_rule_of_the_schema_or_for_a_number_in_it(url: str) -> None:
    """As the API server counts: one rule is violated, or none, and then the URL can be read."""
    user, whole = re.search(receiver.USER_RE2, url), re.fullmatch(receiver.URL_RE2, url)
    assert not (user and whole)
    assert (_said(url) is None) == bool(whole)
    if not whole:
        assert _said(url) == (USER_MEANT if user else URL_MEANT)


def _said(url: str) -> str | None:
    """What is wrong with the URL, other than its port, or an address that is none."""
    try:
        receiver.parse(url)
    except InvalidInput as refusal:
        return None if refusal.message.startswith(("has the port ", "has the host ")) else refusal.message
    return None
