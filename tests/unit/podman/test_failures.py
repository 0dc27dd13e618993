"""Podman's error messages → our errors: which class, and which part of the message users see."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import NoSpace, NotFound, PodmanError, PodmanUnavailable, PullFailed
from stromboli.podman import failures


def _body(cause: str, message: str = "…") -> bytes:
    return json.dumps({"cause": cause, "message": message, "response": 500}).encode()


@pytest.mark.parametrize(
    ("status", "cause", "kind"),
    [
        (404, "no such container", NotFound),
        (404, "no such file or directory", NotFound),
        (404, "", NotFound),
        (500, "image not known", NotFound),
        (500, 'copier: stat: error resolving "/a": open /a: too many levels of symbolic links', NotFound),
        (500, "no space left on device", NoSpace),
        (500, "disk quota exceeded", NoSpace),
        (500, "that name is already in use", PodmanError),
        (409, "volume is being used", PodmanError),
        (500, "container state improper", PodmanError),
        (503, "", PodmanUnavailable),
        (502, "", PodmanUnavailable),
    ],
)
def test_code_and_cause_decide(status: int, cause: str, kind: type[Exception]) -> None:
    error = failures.refusal(status, _body(cause), "POST /x")
    assert type(error) is kind
    assert "POST /x" in str(error)
    if isinstance(error, PodmanError):
        assert error.status == status


@pytest.mark.parametrize("word", ["no such container", "image not known", "no space left on device"])
def test_words_inside_a_message_decide_nothing(word: str) -> None:
    error = failures.refusal(500, _body("other", f"{word}: and then something else"), "POST /x")
    assert type(error) is PodmanError


def test_a_runtime_s_full_disk_is_told_at_the_message_s_end() -> None:
    message = "crun: mkdir `/run/x`: No space left on device".lower()
    assert isinstance(failures.refusal(500, _body("OCI runtime error", message), "POST /x"), NoSpace)


def test_of_a_very_long_text_both_ends_decide() -> None:
    long = "x " * 1_000_000
    body = json.dumps({"message": f"{long}: no space left on device"}).encode()
    assert isinstance(failures.refusal(500, body, "GET /x"), NoSpace)
    for message in (f"{long}: manifest unknown", f"manifest unknown: {long}"):
        failure = failures.pull_failure("x", message)
        assert isinstance(failure, PullFailed)
        assert failure.permanent


@pytest.mark.parametrize(
    "words",
    [
        '/usr/bin/slirp4netns failed: "open(\\"/dev/net/tun\\"): Permission denied"',
        "failed to mount runtime directory for rootless netns: no such file or directory",
    ],
)
def test_a_network_that_a_user_cannot_have_comes_with_a_way_out(words: str) -> None:
    """Both messages are Podman 4.3's: the one of the first start, and the one of every later start."""
    told = str(failures.refusal(500, _body("exit status 1", words), "POST /start"))
    assert "chmod 666 /dev/net/tun" in told
    assert "network: none" in told
    assert "chmod" not in str(failures.refusal(500, _body("exit status 1", "other words"), "POST /start"))


@pytest.mark.parametrize("body", [b"", b"404 page not found", b"[]", b'"text"', b"\xff\xfe", b"null"])
def test_an_answer_of_another_shape_is_an_error_all_the_same(body: bytes) -> None:
    error = failures.refusal(500, body, "POST /x")
    assert type(error) is PodmanError
    assert str(error).startswith("Podman refused POST /x: ")


@pytest.mark.parametrize(
    ("words", "permanent"),
    [
        ("reading manifest 2 in localhost:5000/x: manifest unknown: manifest unknown", True),
        ("reading manifest 2 in ghcr.io/a/b: name unknown", True),
        ("reading manifest latest in docker.io/a/b: errors: denied: requested access to the resource is denied", True),
        ("unauthorized: authentication required", True),
        ("unable to retrieve auth token: invalid username/password: unauthorized", True),
        ("requested access to the resource is denied", True),
        ('choosing an image from manifest list: no image found in manifest list for architecture "amd64"', True),
        ("received unexpected HTTP status: 404 Not Found", True),
        ("pinging container registry h: dial tcp: lookup h on 10.0.0.1:53: no such host", False),
        ("dial tcp: lookup h: Temporary failure in name resolution", False),
        ("dial tcp 127.0.0.1:1: connect: connection refused", False),
        ("dial tcp 10.1.1.1:443: i/o timeout", False),
        ("net/http: TLS handshake timeout", False),
        ("context deadline exceeded", False),
        ("happened during read: unexpected EOF", False),
        ("toomanyrequests: You have reached your pull rate limit", False),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
        ("received unexpected HTTP status: 502 Bad Gateway: upstream not found", False),
        ("something that nobody has heard of", False),
    ],
)
def test_a_pull_s_words_tell_whether_to_ask_again(words: str, permanent: bool) -> None:
    error = failures.pull_failure("docker.io/library/x:1", words)
    assert isinstance(error, PullFailed)
    assert error.permanent is permanent
    assert "docker.io/library/x:1" in str(error)


def test_a_reference_s_own_words_do_not_decide() -> None:
    reference = "registry.test/denied/timeout:404"
    refused = failures.pull_failure(reference, f"pinging registry: {reference}: something nobody has heard of")
    asked = failures.pull_failure(reference, 'Get "https://registry.test/v2/denied/timeout/tags": connection refused')
    unknown = failures.pull_failure(reference, f"reading manifest 404 in {reference}: manifest unknown")
    assert isinstance(refused, PullFailed)
    assert isinstance(asked, PullFailed)
    assert isinstance(unknown, PullFailed)
    assert (refused.permanent, asked.permanent, unknown.permanent) == (False, False, True)


def test_a_full_disk_is_no_failed_pull() -> None:
    words = "writing blob: storing blob to file: write /var/tmp/x: no space left on device"
    assert isinstance(failures.pull_failure("x", words), NoSpace)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRETSECRET.x-y",
        "authorization: basic SECRETSECRET==",
        'Get "https://me:SECRET@registry.test/v2/"',
        "token=SECRET&x=1",
        'my_token_2 = "SECRET"',
        "tokens and token: SECRET",
        '{"password":"SECRET"}',
        "ANTHROPIC_API_KEY=SECRET",
        "key sk-ant-api03-SECRET-x",
    ],
)
def test_credentials_are_taken_out(text: str) -> None:
    assert "SECRET" not in failures.redact(text)


@pytest.mark.parametrize(
    "piece", ["token", "api_key", "token ", 'secret" ', "passwordx", "a", " ", "://", "bearer ", "https://", "sk-ant-"]
)
def test_no_text_of_a_registry_takes_long(piece: str) -> None:
    """The operator does nothing else meanwhile."""
    text = (piece * 65_536)[:65_536]
    began = time.process_time()
    failures.redact(text)
    failures.problem_of(text)
    assert time.process_time() - began < 3.0


@given(st.text(max_size=2000))
def test_what_is_shown_is_one_line_and_short(text: str) -> None:
    shown = failures.redact(text)
    assert len(shown) <= failures.LONGEST
    assert "\n" not in shown


def test_of_a_long_text_the_end_says_why() -> None:
    shown = failures.redact(f"pinging container registry: {'mirrors also failed, ' * 100} lookup hub: no such host")
    assert shown.startswith("pinging container registry: ")
    assert shown.endswith("lookup hub: no such host")


@pytest.mark.parametrize("surprise", [KeyError("Id"), TypeError("no"), ValueError("no"), AttributeError("no")])
def test_a_surprise_in_an_answer_is_podman_s_error(surprise: Exception) -> None:
    with pytest.raises(PodmanError, match="about a container has an unexpected shape"), failures.reading("a container"):
        raise surprise
