"""The tests' isolated Podman: separate from the machine's, and removed without a trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import images, stores
from tests.support.podman import IsolatedPodman


def test_it_is_apart_and_leaves_nothing() -> None:
    with IsolatedPodman() as podman:
        image = podman.import_busybox()
        running = podman.run("run", "--detach", "--network", "none", "--volume", "kept:/data", image, "sleep", "60")
        mounted = podman.run("create", image)
        podman.run("mount", mounted)
        podman.run("network", "create", "left")
        process = int(podman.run("inspect", "--format", "{{.State.Pid}}", running))
        service = podman.pid
        with IsolatedPodman() as other:
            assert other.run("ps", "--all", "--quiet") == ""
            assert other.run("images", "--quiet") == ""
        assert podman.run("ps", "--quiet", "--no-trunc") == running
    assert not podman.root.exists()
    assert str(podman.root) not in Path("/proc/self/mountinfo").read_text()
    for pid in (process, service):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_container_outlives_its_service() -> None:
    with IsolatedPodman() as podman:
        running = podman.run("run", "--detach", "--network", "none", podman.import_busybox(), "sleep", "60")
        before = podman.pid
        podman.kill_service()
        assert podman.run("ps", "--quiet", "--no-trunc") == running
        podman.start_service()
        assert podman.pid != before
        podman.start_service()  # stopping it again is not an error


def test_it_can_begin_with_images_that_others_begin_with_too(podman_env: dict[str, str]) -> None:
    for name in stores.LARGE:
        images.archive(name, podman_env)
    cli, glibc = (images.RECIPES[name].reference for name in stores.LARGE)
    said = []
    for _ in range(2):  # the second has what the first has removed from its own
        begun = IsolatedPodman()
        assert stores.begin(begun.root / "graph")
        with begun as podman:
            assert podman.run("info", "--format", "{{.Host.NetworkBackend}}") == "netavark"
            begin = ("run", "--rm", "--network=none", f"--mount=type=image,source={cli},destination=/opt/claude", glibc)
            said.append(
                podman.run(*begin, "sh", "-c", "ls -l /opt/claude/bin /usr/bin/python3* && rm /usr/bin/python3*")
            )
            podman.run("rmi", cli, glibc)
            assert podman.run("images", "--quiet") == ""
    assert "claude" in said[0]
    assert said[0] == said[1]
