"""kubectl as it is called here, with a script in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import LocalFailure
from stromboli.local.kubectl import Documents, Kubectl

FIRST: dict[str, Any] = {"metadata": {"name": "hello"}, "status": {}}
SECOND: dict[str, Any] = {"metadata": {"name": "hello"}, "status": {"text": 'Grüße, {"} and 日本語'}}


def pretend(tmp_path: Path, script: str) -> Kubectl:
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Kubectl(program, tmp_path / "kubeconfig", tmp_path / "cache")


def test_what_it_prints_and_which_cluster_it_asks(tmp_path: Path) -> None:
    kubectl = pretend(tmp_path, 'echo "$1 $2 $KUBECONFIG $KUBECACHEDIR"')
    assert kubectl("get", "pods") == f"get pods {tmp_path}/kubeconfig {tmp_path}/cache\n"


def test_what_it_complains_of_is_told(tmp_path: Path) -> None:
    kubectl = pretend(tmp_path, "echo 'The connection was refused' >&2; exit 1")
    with pytest.raises(LocalFailure, match="`kubectl get pods` failed: The connection was refused"):
        kubectl("get", "pods")


def test_a_program_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(LocalFailure, match=r"(?s)No such file.*stromboli up"):
        Kubectl(tmp_path / "none", tmp_path, tmp_path)("get", "pods")


def test_manifests_go_in_by_stdin_and_not_by_argv(tmp_path: Path) -> None:
    kubectl = pretend(tmp_path, f'echo "$@" > {tmp_path}/argv; cat > {tmp_path}/stdin')
    kubectl.apply({"kind": "Secret", "data": {"key": "c2VjcmV0"}})
    assert json.loads((tmp_path / "stdin").read_text())["items"] == [{"kind": "Secret", "data": {"key": "c2VjcmV0"}}]
    argv = (tmp_path / "argv").read_text()
    assert "--server-side" in argv
    assert "c2VjcmV0" not in argv


def test_objects_and_a_folder_in_one_call(tmp_path: Path) -> None:
    kubectl = pretend(tmp_path, f'echo "$@" >> {tmp_path}/argv; cat > {tmp_path}/stdin')
    kubectl.apply({"kind": "Namespace"}, folder=Path("/crds"))
    assert json.loads((tmp_path / "stdin").read_text())["items"] == [{"kind": "Namespace"}]
    [argv] = (tmp_path / "argv").read_text().splitlines()
    assert argv.endswith("-f - -f /crds")


def test_each_state_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "states").write_text(json.dumps(FIRST, indent=2) + "\n" + json.dumps(SECOND, ensure_ascii=False))
    kubectl = pretend(tmp_path, f"cat {tmp_path}/states; exec sleep 600")
    states = kubectl.follow("agentrun", "hello", "default", 30)
    assert next(states) == FIRST
    assert next(states) == SECOND
    monkeypatch.setattr("stromboli.local.kubectl._BEAT", 0.01)
    assert next(states) is None
    states.close()


def test_following_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stromboli.local.kubectl._BEAT", 0.01)
    kubectl = pretend(tmp_path, "exec sleep 600")
    with pytest.raises(LocalFailure, match="not finished after 0 s"):
        list(kubectl.follow("agentrun", "hello", "default", 0.1))


def test_a_watch_that_breaks(tmp_path: Path) -> None:
    kubectl = pretend(tmp_path, "echo 'not found' >&2; exit 1")
    with pytest.raises(LocalFailure, match="the watch ended: not found"):
        list(kubectl.follow("agentrun", "hello", "default", 30))


@given(st.lists(st.integers(min_value=1, max_value=60), max_size=20))
def test_documents_are_whole_wherever_the_stream_is_cut(sizes: list[int]) -> None:
    stream = b"\n".join(json.dumps(d, indent=1, ensure_ascii=False).encode() for d in (FIRST, SECOND, FIRST))
    documents, seen = Documents(), []
    for size in [*sizes, len(stream)]:
        chunk, stream = stream[:size], stream[size:]
        seen += list(documents.feed(chunk))
    assert seen == [FIRST, SECOND, FIRST]
