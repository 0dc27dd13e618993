"""What is downloaded and what is built are the same versions."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from stromboli.controlplane import build, versions
from stromboli.errors import LocalFailure


def go_mod() -> str:
    return (resources.files("stromboli.controlplane") / "module" / "go.mod").read_text()


def test_go_mod_has_the_same_versions() -> None:
    assert f"k8s.io/kubernetes v{versions.KUBERNETES}\n" in go_mod()
    assert f"go.etcd.io/etcd/server/v3 v{versions.ETCD}\n" in go_mod()
    assert f"\ngo {'.'.join(map(str, versions.GO))}.0\n" in go_mod()


def test_every_replaced_module_is_of_the_same_kubernetes() -> None:
    staging = "v0." + versions.KUBERNETES.partition(".")[2]
    replaced = re.findall(r"=> \S+ (\S+)", go_mod())
    assert len(replaced) > 20
    assert set(replaced) == {staging}


def test_go_mod_settles_exactly_what_is_built() -> None:
    tools = re.search(r"tool \((.*?)\)", go_mod(), re.DOTALL)
    assert tools
    assert tools[1].split() == list(build.PACKAGES)


@pytest.mark.parametrize(("machine", "name"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("arm64", "arm64")])
def test_architecture(machine: str, name: str) -> None:
    assert versions.architecture(machine) == name
    assert versions.folder_name(name).endswith(f"linux-{name}")


def test_other_architectures_are_refused() -> None:
    with pytest.raises(LocalFailure, match="no local control plane for riscv64"):
        versions.architecture("riscv64")
