"""Which entry of a Secret is meant for which image, and what is said of one that cannot be read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stromboli.errors import InvalidInput
from stromboli.grammar.reference import parse
from stromboli.plan.pull_secrets import PullSecret, matching, read
from stromboli.registry_credentials import IdentityToken, Login


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
