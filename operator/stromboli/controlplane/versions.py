"""The control plane's versions, programs and supported architectures. Names only.

The versions equal those in `module/go.mod` (checked by a test), so that a download and a build give the same programs.
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
    """`amd64` or `arm64`, for `machine` (as printed by `uname -m`; default: this one). Raises LocalFailure."""
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise LocalFailure(
            f"there is no local control plane for {machine}, only for x86_64 and aarch64",
            "set KUBECONFIG to use a cluster elsewhere",
        )
    return _ARCHITECTURES[machine]


def folder_name(arch: str) -> str:
    """The name of one complete set of programs in the cache."""
    return f"kubernetes-{KUBERNETES}-etcd-{ETCD}-linux-{arch}"
