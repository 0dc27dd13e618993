"""Which control plane: the versions, the programs, and the architectures it exists for. Only names.

The versions are those of `module/go.mod` (a test compares), so that a download and a build are alike.
"""

from __future__ import annotations

import platform

from stromboli.errors import LocalFailure

KUBERNETES = "1.37.2"
ETCD = "3.7.3"
GO = (1, 26)

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def architecture(machine: str | None = None) -> str:
    """`amd64` or `arm64`, for `machine` as `uname -m` has it, or this one. Raises LocalFailure."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise LocalFailure(
            f"there is no local control plane for {machine}; it exists for x86_64 and aarch64",
            "point KUBECONFIG at a cluster elsewhere",
        )
    return _ARCHITECTURES[machine]


def folder_name(arch: str) -> str:
    """The name of one complete set of programs in the cache."""
    return f"kubernetes-{KUBERNETES}-etcd-{ETCD}-linux-{arch}"
