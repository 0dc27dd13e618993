"""Files of an image that are read where its root is mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stromboli.inspection.root import MountedRoot


@pytest.fixture
def root(tmp_path: Path) -> MountedRoot:
    (tmp_path / "secret").write_bytes(b"of the node")
    image = tmp_path / "image"
    image.mkdir()
    (image / "file").write_bytes(b"0123456789")
    (image / "link").symlink_to("/file")
    (image / "outside").symlink_to("../../secret")
    (image / "folder").mkdir()
    os.mkfifo(image / "pipe")
    return MountedRoot(image)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/file", b"01234567"),
        ("/link", b"01234567"),
        ("/outside", None),
        ("/folder", None),
        ("/pipe", None),  # opening it would wait for ever
        ("/none", None),
    ],
)
def test_regular_files_are_read_and_nothing_else_is_opened(root: MountedRoot, path: str, content: bytes | None) -> None:
    assert root.read(path, 8) == content


def test_a_file_that_is_shorter_than_the_limit(root: MountedRoot) -> None:
    assert root.read("/file", 1 << 20) == b"0123456789"


def test_no_descriptor_is_left_open(root: MountedRoot) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/file", "/folder", "/pipe", "/none"):
        root.read(path, 8)
    assert len(os.listdir("/proc/self/fd")) == before
