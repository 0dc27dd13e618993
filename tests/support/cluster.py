"""A control plane of the tests' own: real programs, its state in a temporary folder, nothing of it left.

The programs come by the search order that `stromboli up` has, so the first run on a machine may take
minutes, and says what it does. The fixture `cluster` is one control plane for the whole session.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from stromboli.controlplane import binaries
from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.progress import Progress

KUBECTL_SECONDS = 30.0


def find_programs(config: pytest.Config) -> Binaries:
    """The programs, fetched into the person's cache if need be, with progress past pytest's capture."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        progress = Progress(sys.stderr, terminal=False)
        return binaries.find(binaries.cache_folder(os.environ), progress, os.environ)


@contextmanager
def running_cluster(state: Path, programs: Binaries) -> Iterator[Cluster]:
    """A control plane in `state`, up inside the block, down after it."""
    cluster = Cluster(state, programs, fsync=False)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


class Kubectl:
    """The real kubectl, as the holder of one kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._program = program
        self._environ = {"PATH": os.defpath, "HOME": str(kubeconfig.parent), "KUBECONFIG": str(kubeconfig)}

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What it prints. A command that fails is an AssertionError with what it said."""
        done = self.attempt(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)[:200]}: {done.stderr[:2000]}"
        return done.stdout

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it, at most 30 s."""
        return subprocess.run(
            [self._program, *arguments],
            env=self._environ,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=KUBECTL_SECONDS,
            check=False,
        )


@pytest.fixture(scope="session")
def programs(pytestconfig: pytest.Config) -> Binaries:
    """etcd, kube-apiserver, kube-controller-manager and kubectl."""
    return find_programs(pytestconfig)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, programs: Binaries) -> Iterator[Cluster]:
    """One control plane for the session; what tests put into it they keep apart by namespace."""
    with running_cluster(tmp_path_factory.mktemp("controlplane"), programs) as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster, programs: Binaries) -> Kubectl:
    """kubectl as the administrator of `cluster`."""
    return Kubectl(programs.kubectl, cluster.kubeconfig)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, programs: Binaries) -> Iterator[Cluster]:
    """A control plane that a module's tests may spoil, stop and kill; the session's is not theirs."""
    with running_cluster(tmp_path_factory.mktemp("own"), programs) as running:
        yield running


@pytest.fixture(scope="module")
def admin(own: Cluster, programs: Binaries) -> Kubectl:
    """kubectl as the administrator of `own`."""
    return Kubectl(programs.kubectl, own.kubeconfig)
