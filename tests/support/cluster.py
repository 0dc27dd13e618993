"""A control plane for tests: real programs, with its state in a temporary folder that is removed afterwards.

The programs are found in the same order as by `stromboli up`, so the first session on a machine may take minutes, and
prints its progress. The fixture `cluster` is one control plane for the whole session.
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
    """The programs, fetched into the user's cache if necessary; progress is printed past pytest's capture."""
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
    """The real kubectl with one kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._program = program
        self._environ = {
            "PATH": os.defpath,
            "HOME": str(kubeconfig.parent),
            "KUBECONFIG": str(kubeconfig),
            "GOGC": "400",  # as in podman.py
        }

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command and return its standard output. A failure is an AssertionError with its standard error."""
        done = self.attempt(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)[:200]}: {done.stderr[:2000]}"
        return done.stdout

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail, with a timeout of 30 s."""
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
    """One control plane for the session; tests use separate namespaces in it."""
    with running_cluster(tmp_path_factory.mktemp("controlplane"), programs) as running:
        yield running


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster, programs: Binaries) -> Kubectl:
    """kubectl as the administrator of `cluster`."""
    return Kubectl(programs.kubectl, cluster.kubeconfig)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, programs: Binaries) -> Iterator[Cluster]:
    """A control plane of the test module, which may break, stop and kill it, unlike the session's."""
    with running_cluster(tmp_path_factory.mktemp("own"), programs) as running:
        yield running


@pytest.fixture(scope="module")
def admin(own: Cluster, programs: Binaries) -> Kubectl:
    """kubectl as the administrator of `own`."""
    return Kubectl(programs.kubectl, own.kubeconfig)
