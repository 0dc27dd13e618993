"""Which entry of a Secret is meant for which image, and what is said of one that cannot be read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.grammar.reference import parse
from stromboli.plan.pull_secrets import Keyring, PullSecret, Source, keyring, matching, of_secret, read
from stromboli.registry_credentials import IdentityToken, Login, without_secrets


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(**auths: Any) -> str:
    return json.dumps({"auths": auths})


def users(image: str, *places: str) -> list[str]:
    """The places whose credentials are tried for an image, in order."""
    entries = read(secret(**{place: {"username": place, "password": "x"} for place in places}))
    return [each.user for each in matching(entries, parse(image)) if isinstance(each, Login)]


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("registry.test/a/b:1", "registry.test"),
        ("registry.test/a/b:1", "https://registry.test"),
        ("registry.test/a/b:1", "https://registry.test/"),
        ("registry.test/a/b:1", "https://registry.test/v1/"),
        ("registry.test/a/b:1", "https://registry.test/v2/"),
        ("registry.test/a/b:1", "Registry.Test"),
        ("registry.test/a/b:1", "registry.test/a"),
        ("registry.test/a/b:1", "registry.test/a/b"),
        ("registry.test/a/b:1", "registry.test/v2/a"),
        ("registry.test/a/b:1", "*.test"),
        ("registry.test/a/b:1", "reg*.test"),
        ("eu.registry.test/a:1", "*.registry.test"),
        ("python:3.12", "docker.io"),
        ("python:3.12", "docker.io/library"),
        ("python:3.12", "https://index.docker.io/v1/"),
        ("team/tool:1", "index.docker.io"),
        (f"registry.test/a@sha256:{'1' * 64}", "registry.test"),
    ],
)
def test_an_entry_that_is_meant(image: str, place: str) -> None:
    assert len(users(image, place)) == 1


@pytest.mark.parametrize(
    ("image", "place"),
    [
        ("registry.test/a/b:1", "registry.test/b"),
        ("registry.test/a/b:1", "registry.test/a/b/c"),
        ("registry.test/a/b:1", "registry.test:5000"),
        ("registry.test:5000/a/b:1", "registry.test"),
        ("registry.test/a:1", "other.test"),
        ("registry.test.evil.test/a:1", "registry.test"),
        ("registry.test/a:1", "*"),
        ("a.b.registry.test/a:1", "*.registry.test"),
        ("registry.test/a:1", "*.registry.test"),
        ("quay.io/library/python:3", "index.docker.io"),
        ("registry.test/docker.io/a:1", "docker.io"),
    ],
)
def test_an_entry_for_another(image: str, place: str) -> None:
    assert users(image, place) == []


# What the kubelet's keyring makes of hosts with patterns (pkg/credentialprovider, URLsMatch).
@pytest.mark.parametrize(
    ("host", "place", "meant"),
    [
        ("eu.corp.io", "*.corp.io", True),
        ("eu.corp.io", "eu.*.io", True),
        ("eu.corp.io", "eu.corp.*", True),
        ("eu-good.corp.io", "*-good.corp.io", True),
        ("eu.corp.io", "eu.c?rp.io", True),
        ("eu.corp.io", "[de]u.corp.io", True),
        ("eu.corp.io", "*.*.*", True),
        ("eu.corp.io:1111", "*.corp.io:1111", True),
        ("eu.corp.io", "*corp.io", False),
        ("eu.corp.io", "corp.io", False),
        ("corp.io", "*.corp.io", False),
        ("eu.corp.io", "*.*.corp.io", False),
        ("eu.corp.io", "*", False),
        ("eu.corp.io", "*.corp.net", False),
        ("eu-bad.corp.io", "*-good.corp.io", False),
        ("eu.corp.io:1111", "*.corp.io", False),
        ("eu.corp.io:1111", "*.corp.io:2222", False),
        ("eu.corp.io:1111", "*.corp.io:*", False),
    ],
)
@pytest.mark.parametrize(
    ("path", "below", "also"), [("", "a", True), ("/blah", "blah/foo", True), ("/blah", "foo/blah", False)]
)
def test_patterns_in_hosts(host: str, place: str, meant: bool, path: str, below: str, also: bool) -> None:
    assert bool(users(f"{host}/{below}:1", f"https://{place}{path}")) == (meant and also)


def test_the_most_specific_first() -> None:
    places = ("registry.test", "registry.test/a", "other.test", "registry.test/a/b")
    assert users("registry.test/a/b:1", *places) == ["registry.test/a/b", "registry.test/a", "registry.test"]
    assert users("python:3", "index.docker.io", "docker.io") == ["docker.io"], "the hub's old name is the last resort"


def test_what_credentials_look_like() -> None:
    given = {
        "a.test": {"auth": auth("user:pass:word")},
        "b.test": {"username": "user", "password": "word", "email": "x"},
        "c.test": {"identitytoken": "token", "auth": auth("00000000-0000-0000-0000-000000000000:")},
        "d.test": {},
    }
    assert read(secret(**given)) == (
        PullSecret("a.test", Login("user", "pass:word")),
        PullSecret("b.test", Login("user", "word")),
        PullSecret("c.test", IdentityToken("token")),
    )


def test_the_same_credentials_are_tried_once() -> None:
    entries = read(secret(**{place: {"auth": auth("u:p")} for place in ("registry.test", "registry.test/a")}))
    assert matching(entries, parse("registry.test/a:1")) == (Login("u", "p"),)


@pytest.mark.parametrize("document", ["", "sesame", "[]", "null", '{"auths": 7}', "{}", '"auths"', "[" * 100_000])
def test_a_document_of_another_form(document: str) -> None:
    with pytest.raises(InvalidInput, match="is not JSON of the form") as caught:
        read(document)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("sesame", "is no object"),
        ({"auth": "sesame!"}, "not base64"),
        ({"auth": auth("sesame")}, "not USER:PASSWORD"),
        ({"auth": base64.b64encode(b"\xff:sesame").decode()}, "not base64"),
        ({"username": "reader", "password": "sesame\ud800"}, "cannot be written in UTF-8"),
        ({"username": "sesame\udfff"}, "cannot be written in UTF-8"),
        ({"identitytoken": "sesame\ud800"}, "cannot be written in UTF-8"),
    ],
)
def test_an_entry_that_cannot_be_read_is_named_without_its_value(entry: Any, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(secret(**{"registry.test\x1b[2J": entry}))
    message = str(caught.value)
    assert message.startswith(r".dockerconfigjson: the entry of 'registry.test\x1b[2J' ")
    assert why in message
    assert "sesame" not in message
    assert auth("sesame") not in message


def test_the_older_type_of_secret() -> None:
    given = {"https://registry.test/v1/": {"auth": auth("user:word"), "email": "x"}, "b.test": {}}
    document = json.dumps(given).encode()
    assert of_secret({".dockercfg": document}) == (PullSecret("registry.test", Login("user", "word")),)
    for broken in (b"", b"[]", b"7", b"sesame", b'{"a": "sesame"}'):
        with pytest.raises(InvalidInput, match=r"\.dockercfg: ") as caught:
            of_secret({".dockercfg": broken})
        assert "sesame" not in str(caught.value)


def test_a_secret_of_another_type() -> None:
    with pytest.raises(InvalidInput, match=r"has no key \.dockerconfigjson; its type has to be"):
        of_secret({"password": b"sesame"})


def test_a_secret_of_too_many_entries() -> None:
    with pytest.raises(InvalidInput, match="has more than 1000 entries"):
        read(secret(**{f"r{n}.test": {} for n in range(1001)}))


def test_no_more_are_tried_than_a_registry_can_bear() -> None:
    places = [f"{'*' * number}.test" for number in range(1, 40)]
    entries = read(secret(**{place: {"username": place, "password": "x"} for place in places}))
    assert len(matching(entries, parse("registry.test/a:1"))) == 16


def source(called: str, **places: str) -> Source:
    """A Secret with a password for each place."""
    auths = {place: {"username": "u", "password": password} for place, password in places.items()}
    return Source(called, {".dockerconfigjson": secret(**auths).encode()})


def test_the_secrets_of_one_image_together() -> None:
    both = {"registry.test": "one"}
    sources = [
        source("the Secret a", **both),
        source("the Secret b", **{"registry.test/team": "two", "other.test": "three"}),
        source("the Secret c", **{"registry.test": "four"}),
        source("the Secret d", **both),
        source("the Secret e", **{"other.test": "five"}),
        Source("the Secret f", None),
        Source("the Secret g", {".dockerconfigjson": b"sesame"}),
        Source("the Secret h", {}),
    ]
    found = keyring(sources, parse("registry.test/team/app:1"))
    assert [each.password for each in found.credentials if isinstance(each, Login)] == ["two", "one", "four"]
    assert found.secrets == ("the Secret b", "the Secret a", "the Secret c")
    assert found.lacking == (
        "the Secret e has no credentials for registry.test/team/app",
        "the Secret f does not exist",
        'the Secret g: .dockerconfigjson: is not JSON of the form {"auths": {"REGISTRY": {"auth": "…"}}}',
        "the Secret h has no key .dockerconfigjson; its type has to be kubernetes.io/dockerconfigjson, as that of a "
        "Secret that `kubectl create secret docker-registry` makes",
    )
    assert "one" not in repr(found)
    assert "sesame" not in repr(sources)


def test_what_is_said_of_the_secrets() -> None:
    two = Keyring((), ("the Secret a", "the Secret b"), ("the Secret c does not exist",))
    assert two.said("registry.test", refused=True) == (
        "registry.test refuses the credentials of the Secret a and of the Secret b; the Secret c does not exist"
    )
    assert Keyring((), ("the Secret a",)).said("registry.test", refused=False) == (
        "registry.test was asked with the credentials of the Secret a"
    )
    assert Keyring().said("registry.test", refused=True) == ""


class TestProperties:
    """Whatever is in a Secret: credentials, or a sentence without them."""

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
    SURROGATES = st.text("a\ud800", max_size=4)  # JSON can have them, UTF-8 cannot
    ENTRY = st.fixed_dictionaries(
        {},
        optional={
            "auth": JSON | st.binary(max_size=12).map(lambda b: base64.b64encode(b).decode()),
            "username": JSON | SURROGATES,
            "password": JSON | SURROGATES,
            "identitytoken": JSON | SURROGATES,
        },
    )

    @given(st.binary(max_size=64), st.sampled_from([".dockerconfigjson", ".dockercfg"]))
    def test_any_bytes(self, document: bytes, key: str) -> None:
        self.read({key: document})

    @given(JSON | st.fixed_dictionaries({"auths": JSON | st.dictionaries(st.text(max_size=12), ENTRY, max_size=3)}))
    def test_any_json(self, document: Any) -> None:
        for key in (".dockerconfigjson", ".dockercfg"):
            self.read({key: json.dumps(document).encode()})

    @given(st.text(max_size=12), ENTRY)
    def test_a_password_is_in_no_message(self, place: str, entry: dict[str, Any]) -> None:
        password = "open-sesame"
        given = {place: entry, "b": {"auth": password}, "c": password}
        message = self.read({".dockerconfigjson": secret(**given).encode()})
        assert message
        assert password not in message

    @staticmethod
    def read(data: dict[str, bytes]) -> str:
        """The message about data that cannot be read."""
        try:
            found = of_secret(data)
        except InvalidInput as error:
            message = str(error)
        else:
            matching(found, parse("registry.test/a:1"))
            for each in found:
                assert without_secrets("sesame", each.credentials)
            return ""
        assert message.isprintable()
        return message
