"""The prompt and the credentials, by name: there, missing, malformed, or nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stromboli import settings as configuration
from stromboli.errors import ClusterUnavailable, Refused, Waiting
from stromboli.observe import references
from stromboli.observe.references import Credentials
from stromboli.reasons import Reason
from stromboli.settings import Settings
from tests.support.builders import effective, policy, spec
from tests.support.fake_cluster import FakeCluster

NAMED: dict[str, Any] = {"credentials": {"secretRef": {"name": "claude"}}}
HIDDEN = b"sk-hunter2"


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def _from(kind: str, name: str = "task", key: str = "prompt") -> Any:
    return spec(prompt=None, promptFrom={f"{kind}KeyRef": {"name": name, "key": key}})


def _settings(**environ: str) -> Settings:
    return configuration.load({"STROMBOLI_NAMESPACE": "operator", **environ})


# --- the prompt ---


async def test_a_prompt_in_the_run_needs_nobody(cluster: FakeCluster) -> None:
    assert await references.prompt(cluster, "team", spec(prompt="hello\n")) == "hello\n"
    assert cluster.asked == []


@pytest.mark.parametrize("text", ["say hello", "käse 🧀\r\n", "x" * 900_000])
async def test_a_prompt_elsewhere(cluster: FakeCluster, text: str) -> None:
    cluster.config_maps["team", "task"] = {"prompt": text.encode()}
    cluster.secrets["team", "task"] = {"prompt": text.encode(), "other": HIDDEN}
    assert await references.prompt(cluster, "team", _from("configMap")) == text
    assert await references.prompt(cluster, "team", _from("secret")) == text
    assert cluster.asked == [("configmap", "team", "task"), ("secret", "team", "task")]


@pytest.mark.parametrize(("kind", "said"), [("configMap", "ConfigMap task"), ("secret", "Secret task")])
@pytest.mark.parametrize("there", [False, True])
async def test_a_prompt_that_is_not_there_yet(cluster: FakeCluster, kind: str, said: str, there: bool) -> None:
    if there:  # the object is, the key is not
        cluster.config_maps["team", "task"] = {"other": b"x"}
        cluster.secrets["team", "task"] = {"other": HIDDEN}
    cluster.secrets["elsewhere", "task"] = {"prompt": b"of another namespace"}
    with pytest.raises(Waiting) as wait:
        await references.prompt(cluster, "team", _from(kind))
    assert wait.value.reason is Reason.WaitingForReference
    wanted = f"the {said} is not in namespace team yet"
    if there:
        wanted = f"the {said} has no key prompt yet" + ("; its keys are other" if kind == "configMap" else "")
    assert wait.value.message == f"spec.promptFrom: {wanted}"


async def test_of_many_keys_some_are_named(cluster: FakeCluster) -> None:
    cluster.config_maps["team", "task"] = {f"key-{n:02}": b"x" for n in range(12)}
    with pytest.raises(Waiting, match=r"its keys are key-00, .*, key-09 and 2 more$"):
        await references.prompt(cluster, "team", _from("configMap"))
    cluster.config_maps["team", "task"] = {}
    with pytest.raises(Waiting, match=r"no key prompt yet; it has no keys at all$"):
        await references.prompt(cluster, "team", _from("configMap"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; write what the agent should do"),
        (b" \n", "is empty; write what the agent should do"),
        (b"ab\xff", "is not UTF-8 (byte 2); a prompt is text"),
        (b"a\0b", "has a NUL character in it; take it out"),
        (b"x" * (4 * 1024 * 1024 + 1), "has 4194305 bytes"),
    ],
)
async def test_a_prompt_that_is_none(cluster: FakeCluster, data: bytes, said: str) -> None:
    cluster.secrets["team", "task"] = {"prompt": data}
    with pytest.raises(Refused) as refusal:
        await references.prompt(cluster, "team", _from("secret"))
    assert refusal.value.reason is Reason.InvalidSpec
    assert refusal.value.message.startswith(f"spec.promptFrom: key prompt of the Secret task: {said}")


@pytest.mark.parametrize("kind", ["configMap", "secret"])
async def test_that_nobody_answers_is_not_that_it_is_missing(cluster: FakeCluster, kind: str) -> None:
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await references.prompt(cluster, "team", _from(kind))


# --- credentials ---


async def _credentials(cluster: FakeCluster, settings: Settings | None = None, **fields: Any) -> Credentials:
    return await references.credentials(cluster, settings or _settings(), effective(policy(**(fields or NAMED))))


@pytest.mark.parametrize(
    ("data", "env", "file"),
    [
        ({"ANTHROPIC_API_KEY": HIDDEN}, {"ANTHROPIC_API_KEY": HIDDEN}, None),
        ({"ANTHROPIC_API_KEY": HIDDEN + b"\n"}, {"ANTHROPIC_API_KEY": HIDDEN}, None),
        ({"CLAUDE_CODE_OAUTH_TOKEN": b"t", "other": b"x"}, {"CLAUDE_CODE_OAUTH_TOKEN": b"t"}, None),
        ({".credentials.json": b"{}\n"}, {}, b"{}\n"),
        ({".credentials.json": b"{}", "ANTHROPIC_API_KEY": b" "}, {}, b"{}"),
        ({".credentials.json": b"", "ANTHROPIC_API_KEY": b"k"}, {"ANTHROPIC_API_KEY": b"k"}, None),
        (
            {"ANTHROPIC_API_KEY": b"k", "CLAUDE_CODE_OAUTH_TOKEN": b"t", ".credentials.json": b"f"},
            {"ANTHROPIC_API_KEY": b"k", "CLAUDE_CODE_OAUTH_TOKEN": b"t"},
            b"f",
        ),
    ],
)
async def test_credentials_of_a_secret(
    cluster: FakeCluster, data: dict[str, bytes], env: Mapping[str, bytes], file: bytes | None
) -> None:
    cluster.secrets["operator", "claude"] = data
    assert await _credentials(cluster) == Credentials(env, file)
    assert cluster.asked == [("secret", "operator", "claude")]


async def test_credentials_of_another_namespace(cluster: FakeCluster) -> None:
    cluster.secrets["vault", "claude"] = {"ANTHROPIC_API_KEY": HIDDEN}
    found = await _credentials(cluster, credentials={"secretRef": {"name": "claude", "namespace": "vault"}})
    assert found.env == {"ANTHROPIC_API_KEY": HIDDEN}


async def test_a_secret_that_is_not_there_yet(cluster: FakeCluster) -> None:
    with pytest.raises(Waiting) as wait:
        await _credentials(cluster)
    assert wait.value.reason is Reason.WaitingForReference
    assert wait.value.message == "credentials: the Secret claude is not in namespace operator yet"


@pytest.mark.parametrize(
    "data",
    [{}, {"KEY": HIDDEN}, {"ANTHROPIC_API_KEY": b" \n"}, {".credentials.json": b""}, {"anthropic_api_key": HIDDEN}],
)
async def test_a_secret_without_any_of_the_keys(cluster: FakeCluster, data: dict[str, bytes]) -> None:
    cluster.secrets["operator", "claude"] = data
    with pytest.raises(Waiting) as wait:
        await _credentials(cluster)
    assert wait.value.reason is Reason.WaitingForReference
    assert "has none of the keys ANTHROPIC_API_KEY, CLAUDE_CODE_OAUTH_TOKEN and .credentials.json" in wait.value.message
    assert HIDDEN.decode() not in wait.value.message


async def test_a_policys_secret_goes_before_the_operators_file(cluster: FakeCluster, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(b"of the settings")
    cluster.secrets["operator", "claude"] = {".credentials.json": b"of the policy"}
    settings = _settings(STROMBOLI_AGENT_CREDENTIALS_FILE=str(file))
    assert (await _credentials(cluster, settings)).file == b"of the policy"
    assert (await _credentials(cluster, settings, network="none")).file == b"of the settings"


async def test_an_operators_file_that_is_not_there(cluster: FakeCluster, tmp_path: Path) -> None:
    settings = _settings(STROMBOLI_AGENT_CREDENTIALS_FILE=str(tmp_path / "none.json"))
    with pytest.raises(Waiting) as wait:
        await _credentials(cluster, settings, network="none")
    assert wait.value.reason is Reason.WaitingForReference
    assert "agent.credentials_file none.json cannot be read: No such file" in wait.value.message
    assert str(tmp_path) not in wait.value.message, "where it lies on the node is not everybody's business"


async def test_no_source_at_all(cluster: FakeCluster) -> None:
    with pytest.raises(Refused) as refusal:
        await _credentials(cluster, network="none")
    assert refusal.value.reason is Reason.CredentialsMissing
    assert "credentials.secretRef of an AgentPolicy, or set agent.credentials_secret" in refusal.value.message
    assert cluster.asked == []


async def test_credentials_that_nobody_knows_of(cluster: FakeCluster) -> None:
    cluster.away = True
    with pytest.raises(ClusterUnavailable):
        await _credentials(cluster)
