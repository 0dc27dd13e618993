"""Finding the API server. What is asked of it is in tests/contract/cluster/."""

from __future__ import annotations

from pathlib import Path

import pytest

from stromboli.errors import InvalidSettings
from stromboli.kube.client import Cluster


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"a: [",
        b"[]",
        b"\xff\xfe\x00",
        b"clusters: []\ncurrent-context: x",
        b"{clusters: 1, contexts: 2, users: 3}",
    ],
)
def test_what_is_no_kubeconfig_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "config").write_bytes(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(InvalidSettings, match=r"KUBECONFIG"):
        Cluster()


def test_what_only_the_other_parser_of_yaml_can_read_is_not_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libyaml measures, and refuses half of a surrogate pair; lightkube reads with PyYAML, which does not."""
    (tmp_path / "config").write_text('- "\\ud800"\n- ' + "[" * 10_000)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(InvalidSettings, match=r"config, which is not YAML; name a kubeconfig file"):
        Cluster()


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_kubeconfig_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / name))
    with pytest.raises(InvalidSettings, match=r"KUBECONFIG.* leads to no cluster"):
        Cluster()
