"""What a service inherits from its image."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stromboli.node.service_images import image_of
from stromboli.plan.stack.image import SHELL, Image, ImageCheck
from stromboli.podman.images import ImageHealth, ImageInfo

BARE = ImageInfo("f00d", "sha256:1", (), (), "amd64", "linux", "", (), (), (), "", 1, None)


def test_an_image_that_says_nothing() -> None:
    assert image_of(BARE) == Image("f00d")
    assert image_of(BARE).shell == SHELL


def test_an_image_that_says_everything() -> None:
    info = replace(
        BARE,
        user="postgres",
        env=("PATH=/bin", "EMPTY=", "EQUALS=a=b"),
        entrypoint=("/entry",),
        cmd=("postgres",),
        workdir="/work",
        stop_signal="SIGINT",
        volumes=("/data",),
        ports=("5432/tcp",),
        shell=("/bin/bash", "-c"),
        health=ImageHealth(("CMD", "x"), 1, 2, 3, 4),
    )
    assert image_of(info) == Image(
        "f00d",
        user="postgres",
        env={"PATH": "/bin", "EMPTY": "", "EQUALS": "a=b"},
        entrypoint=("/entry",),
        command=("postgres",),
        workdir="/work",
        stop_signal="SIGINT",
        volumes=("/data",),
        tcp=frozenset({5432}),
        check=ImageCheck(("CMD", "x"), 1, 2, 3, 4),
        shell=("/bin/bash", "-c"),
    )


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", {80}),
        ("80/tcp", {80}),
        ("7000-7002/tcp", {7000, 7001, 7002}),
        ("53/udp", set()),
        ("", set()),
        ("0-2/tcp", {1, 2}),
        ("65534-99999/tcp", {65534, 65535}),
        ("9-3/tcp", set()),
        ("-/tcp", set()),
        ("999999/tcp", set()),
        ("²/tcp", set()),
    ],
)
def test_exposed_ports(text: str, ports: set[int]) -> None:
    assert image_of(replace(BARE, ports=(text,))).tcp == ports
