"""How a kubeconfig's user is shown to the API server, and what happens once it no longer accepts that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from stromboli.errors import ClusterUnavailable, HttpRefused
from stromboli.kube import credentials
from stromboli.kube.credentials import Credentials
from stromboli.kube.plain import Plain, unobserved
from tests.support.fake_http import FakeHttp

API = "client.authentication.k8s.io/v1beta1"


class Server:
    """An API server that accepts these values of the header, and notes all."""

    def __init__(self, *accepted: str | None) -> None:
        self.accepted, self.seen = accepted, list[str | None]()

    def answer(self, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.seen.append(headers.get("Authorization"))
        return (200, b"{}") if self.seen[-1] in self.accepted else (401, b'{"message":"Unauthorized"}')


def plain(folder: Path, user: dict[str, Any], server: Server) -> Plain:
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    made = Plain.__new__(Plain)
    made._observe = unobserved
    config = KubeConfig.from_dict(document, fname=folder / "config").get()
    assert config is not None
    made._credentials = Credentials(config)
    made._http = FakeHttp(server.answer)  # type: ignore[assignment]
    return made


def program(script: str) -> dict[str, Any]:
    return {
        "exec": {"apiVersion": API, "command": "/bin/sh", "args": ["-c", script], "env": [{"name": "A", "value": "b"}]}
    }


@pytest.mark.parametrize(
    ("user", "value"),
    [
        ({"token": "t"}, "Bearer t"),
        ({"username": "a", "password": "ü"}, "Basic YTrDvA=="),
        ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, None),
        ({}, None),
    ],
)
async def test_what_is_written_there(tmp_path: Path, user: dict[str, Any], value: str | None) -> None:
    server = Server(value)
    assert await plain(tmp_path, user, server).document("/apis") == b"{}"
    assert server.seen == [value]


async def test_it_is_shown_once_only_if_it_cannot_change(tmp_path: Path) -> None:
    server = Server("Bearer other")
    with pytest.raises(HttpRefused, match=r"^Unauthorized$") as refused:
        await plain(tmp_path, {"token": "t"}, server).document("/apis")
    assert (refused.value.status, len(server.seen)) == (401, 1)


async def test_a_token_of_a_file_is_read_again_once_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t1\n")
    server = Server("Bearer t1")
    asked = plain(tmp_path, {"tokenFile": "token", "token": "old"}, server)
    await asked.document("/apis")
    (tmp_path / "token").write_text("t2\n")
    await asked.document("/apis")
    server.accepted = ("Bearer t2",)
    await asked.document("/apis")
    await asked.document("/apis")
    assert server.seen == ["Bearer t1", "Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]
    server.accepted = ()
    with pytest.raises(HttpRefused):
        await asked.document("/apis")
    assert len(server.seen) == 7


async def test_a_token_of_a_program(tmp_path: Path) -> None:
    script = """printf '{"status":{"token":"%s"}}' "$A-$(wc -l < ran)"; echo >> ran; test -n "$KUBERNETES_EXEC_INFO\""""
    (tmp_path / "ran").touch()
    server = Server("Bearer b-0")
    asked = plain(tmp_path, program(f"cd {tmp_path}; {script}"), server)
    for _ in range(2):
        await asked.document("/apis")
    server.accepted = ("Bearer b-1",)
    await asked.document("/apis")
    assert server.seen == ["Bearer b-0", "Bearer b-0", "Bearer b-0", "Bearer b-1"]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (program("echo why >&2; exit 3"), "it ended with 3: why"),
        (program("echo no JSON"), "/bin/sh gave no token"),
        (program("echo '{}'"), "/bin/sh gave no token"),
        (program("echo '[]'"), "/bin/sh gave no token"),
        (program("exec sleep 60"), "it did not end within 0 s"),
        ({"exec": {"apiVersion": API, "command": "/nowhere"}}, "No such file or directory: '/nowhere'"),
        ({"exec": {"apiVersion": "v9", "command": "/bin/true"}}, "apiVersion v9 is not supported"),
        ({"tokenFile": "nowhere"}, "No such file or directory"),
    ],
)
async def test_without_credentials_nothing_is_known(
    tmp_path: Path, user: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PROGRAM", 0.3 if "sleep" in str(user) else 20.0)
    server = Server()
    with pytest.raises(ClusterUnavailable, match=words):
        await plain(tmp_path, user, server).document("/apis")
    assert server.seen == []


def test_a_kind_that_is_not_supported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        plain(tmp_path, {"auth-provider": {"name": "gcp"}}, Server())
