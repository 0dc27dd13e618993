"""ConfigMaps and Secrets that a run or its policy references: read, awaited while missing, refused when malformed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from tests.support.cluster import Kubectl
from tests.support.operator import Standin
from tests.support.runs import Object, Runs, completed, condition, finished, reason_is

MIB = 1 << 20


def config_map(namespace: str, name: str, **data: bytes) -> Object:
    return _object("ConfigMap", namespace, name, "binaryData", data)


def secret(namespace: str, name: str, data: dict[str, bytes]) -> Object:
    return _object("Secret", namespace, name, "data", data)


def _object(kind: str, namespace: str, name: str, where: str, data: dict[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, where: encoded}


def apply(kubectl: Kubectl, *objects: Object) -> None:
    body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(body))


def from_map(name: str, key: str = "text") -> dict[str, Any]:
    return {"promptFrom": {"configMapKeyRef": {"name": name, "key": key}}}


def from_secret(name: str, key: str = "text") -> dict[str, Any]:
    return {"promptFrom": {"secretKeyRef": {"name": name, "key": key}}}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("references", light=True)


@pytest.fixture(scope="module")
def started(space: Runs, kubectl: Kubectl, python_image: str) -> Runs:
    """All runs of the namespace; some of their references are missing."""
    name = space.namespace
    text = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain", "namespace": name}}
    apply(
        kubectl,
        {**text, "data": {"text": "from a ConfigMap: 漢字\n"}},
        config_map(name, "binary", text=b"from its binaryData"),
        config_map(name, "not-utf8", text=b"abc\xff\xfedef"),
        config_map(name, "with-nul", text=b"abc\0def"),
        config_map(name, "blank", text=b" \n"),
        secret(name, "hidden", {"text": b"from a Secret, whose words are hush-hush"}),
        secret(name, "not-utf8", {"text": b"\x80 very-private"}),
    )
    cases = {
        "map": from_map("plain"),
        "binary": from_map("binary"),
        "secret": from_secret("hidden"),
        "not-utf8": from_map("not-utf8"),
        "secret-not-utf8": from_secret("not-utf8"),
        "with-nul": from_map("with-nul"),
        "blank": from_map("blank"),
        "late-map": from_map("late"),
        "late-key": from_map("plain", "other"),
        "late-secret": from_secret("late"),
        "never": {**from_map("never"), "timeout": "3s"},
    }
    space.apply_all({case: {"image": python_image, **spec} for case, spec in cases.items()})
    return space


@pytest.mark.parametrize(
    ("case", "prompt"),
    [
        ("map", "from a ConfigMap: 漢字\n"),
        ("binary", "from its binaryData"),
        ("secret", "from a Secret, whose words are hush-hush"),
    ],
)
def test_a_prompt_from_an_object_arrives(started: Runs, standin: Standin, case: str, prompt: str) -> None:
    completed(started.until(case, finished))
    assert [r["last_user_text"] for r in standin.requests()].count(prompt) == 1


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not-utf8", "spec.promptFrom: key text of the ConfigMap not-utf8: is not UTF-8 (byte 3)"),
        ("secret-not-utf8", "spec.promptFrom: key text of the Secret not-utf8: is not UTF-8 (byte 0)"),
        ("with-nul", "spec.promptFrom: key text of the ConfigMap with-nul: has a NUL character in it"),
        ("blank", "spec.promptFrom: key text of the ConfigMap blank: is empty"),
    ],
)
def test_a_prompt_that_is_no_text_is_refused(started: Runs, case: str, words: str) -> None:
    run = started.until(case, finished)
    assert condition(run)["reason"] == "InvalidSpec"
    assert condition(run)["message"].startswith(words)
    assert "very-private" not in json.dumps(run["status"])
    assert "attempts" not in run["status"]


def test_what_is_missing_is_waited_for_and_then_used(started: Runs, kubectl: Kubectl, standin: Standin) -> None:
    for case, what in (
        ("late-map", "ConfigMap late is not in namespace"),
        ("late-key", "ConfigMap plain has no key other yet; its keys are "),
        ("late-secret", "Secret late is not in namespace"),
    ):
        waiting = started.until(case, reason_is("WaitingForReference"))
        assert condition(waiting)["status"] == "Unknown"
        assert what in condition(waiting)["message"]
        assert condition(waiting, "Reconciling")["status"] == "True"
        assert waiting["status"]["phase"] == "Pending"
        assert "attempts" not in waiting["status"]
        assert [e["type"] for e in started.events(case) if e["reason"] == "WaitingForReference"] == ["Warning"]
    name = started.namespace
    apply(
        kubectl,
        config_map(name, "late", text=b"late-map ECHO{late-map}"),
        config_map(name, "plain", other=b"late-key ECHO{late-key}"),
        secret(name, "late", {"text": b"late-secret ECHO{late-secret}"}),
    )
    for case in ("late-map", "late-key", "late-secret"):
        done = started.until(case, finished)
        completed(done)
        assert done["status"]["result"]["text"] == case
        assert "waitingSince" not in done["status"]


def test_what_never_comes_is_waited_for_no_longer_than_the_timeout(started: Runs) -> None:
    run = started.until("never", finished)
    assert condition(run)["reason"] == "TimedOut"
    assert condition(run)["message"].startswith("gave up after 3s (WaitingForReference): ")
    assert "ConfigMap never" in condition(run)["message"]


@pytest.fixture(scope="module")
def basis(policy: dict[str, Any]) -> dict[str, Any]:
    """The tests' policy without its credentials."""
    return {k: v for k, v in policy["spec"].items() if k not in ("namespaceSelector", "credentials")}


CREDENTIALS: dict[str, tuple[dict[str, bytes], str]] = {
    "key": ({"ANTHROPIC_API_KEY": b"key-of-its-own\n"}, "x-api-key"),
    "token": ({"CLAUDE_CODE_OAUTH_TOKEN": b"sk-ant-oat01-token"}, "authorization"),
    # With a socket the CLI ignores its credentials file (seen: 2.1.331), so here the file only has to exist.
    "file": ({"ANTHROPIC_API_KEY": b"key", ".credentials.json": b'{"claudeAiOauth": {}}'}, "x-api-key"),
}


def test_credentials_of_each_kind_reach_the_agent(
    spaces: Callable[..., Runs], kubectl: Kubectl, standin: Standin, basis: dict[str, Any], python_image: str
) -> None:
    made = {kind: spaces(f"credentials-{kind}", own=True) for kind in CREDENTIALS}
    prompts = {kind: f"{kind}: BASH{{cat $CLAUDE_CONFIG_DIR/.credentials.json}}" for kind in CREDENTIALS}
    apply(kubectl, secret(made["key"].namespace, "mine", {"SOMETHING_ELSE": b"x"}))
    for kind, space in made.items():
        space.policy("mine", **basis, credentials={"secretRef": {"name": "mine", "namespace": space.namespace}})
        space.apply("run", prompt=prompts[kind], image=python_image, claude={"dangerouslySkipPermissions": True})
    waiting = {kind: space.until("run", reason_is("WaitingForReference")) for kind, space in made.items()}
    assert "the Secret mine in namespace credentials-key has none of the keys" in condition(waiting["key"])["message"]
    for kind in ("token", "file"):
        assert f"the Secret mine is not in namespace credentials-{kind} yet" in condition(waiting[kind])["message"]
    apply(kubectl, *(secret(made[kind].namespace, "mine", data) for kind, (data, _) in CREDENTIALS.items()))
    for kind, (_, header) in CREDENTIALS.items():
        done = made[kind].until("run", finished)
        completed(done, kind)
        requests = [r for r in standin.requests() if prompts[kind] in r["user_texts"]]
        assert {tuple(r["credentials"]) for r in requests} == {(header,)}
        assert ('{"claudeAiOauth": {}}' in done["status"]["result"]["text"]) == (kind == "file")


def test_a_login_that_was_refreshed_is_the_session_s_alone_until_the_secret_changes(
    spaces: Callable[..., Runs], kubectl: Kubectl, light_spec: dict[str, Any], python_image: str
) -> None:
    """The login is replaced as the CLI does it (tests/contract/test_refreshed_login.py)."""
    space = spaces("refreshed", own=True)
    first, later = (json.dumps({"claudeAiOauth": {"accessToken": f"token-{n}-4c11"}}).encode() for n in "12")
    token = "sk-ant-oat01-refreshed-in-the-meantime"
    refreshed = json.dumps({"claudeAiOauth": {"accessToken": token}}).encode()
    reference = {"secretRef": {"name": "mine", "namespace": space.namespace}}
    space.policy("mine", **{**light_spec, "credentials": reference})
    show = "cd $CLAUDE_CONFIG_DIR; sha256sum <.credentials.json; cat .credentials.json"
    refresh = f"printf %s '{refreshed.decode()}' >.new; chmod 600 .new; mv .new .credentials.json"

    def shown(name: str, session: dict[str, str], command: str = show) -> str:
        run = completed(space.run(name, image=python_image, prompt=f"BASH{{{command}}}", session=session))
        text = str(run["status"]["result"]["text"])
        for secret in ("token-1-4c11", "token-2-4c11", token):
            assert secret not in text
        return text.rpartition("said: ")[2].split()[0]

    def given(login: bytes) -> None:
        apply(kubectl, secret(space.namespace, "mine", {"ANTHROPIC_API_KEY": b"key", ".credentials.json": login}))

    def hashed(login: bytes) -> str:
        return sha256(login).hexdigest()

    given(first)
    own, fork = {"name": "own"}, {"name": "fork", "fork": "own"}
    assert shown("first", own, f"{show}; {refresh}") == hashed(first)
    assert shown("second", own) == hashed(refreshed)
    assert shown("forked", fork) == hashed(first)
    given(later)
    assert shown("third", own) == hashed(later)
    given(first)
    assert shown("fourth", own) == hashed(first), "what was refreshed is gone with the Secret's change"


def test_a_prompt_of_a_mebibyte_from_a_config_map(
    space: Runs, kubectl: Kubectl, standin: Standin, python_image: str
) -> None:
    text = ("sixty-four bytes of a prompt, again and again until it is full.\n" * (MIB // 64))[: MIB - 4096]
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large", "namespace": space.namespace}}
    apply(kubectl, {**body, "data": {"text": text}})
    run = space.run("large", image=python_image, **from_map("large"))
    assert condition(run)["reason"] == "Completed", condition(run)["message"]
    assert [r["last_user_text"] for r in standin.requests()].count(text) == 1
