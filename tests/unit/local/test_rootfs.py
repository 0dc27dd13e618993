"""Roots as tar streams."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from stromboli.local.rootfs import Root


def entries(written: io.BytesIO) -> dict[str, tarfile.TarInfo]:
    written.seek(0)
    with tarfile.open(fileobj=written) as tar:
        return {member.name: member for member in tar}


def deb(folder: Path, name: str, files: dict[str, str], links: dict[str, str] | None = None) -> Path:
    """A real Debian package; `files` are path → content, `links` path → target."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: t\n"
    )
    for path, content in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(content)
        (tree / path).chmod(0o755)
    for path, target in (links or {}).items():
        (tree / path).symlink_to(target)
    archive = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, archive], check=True, capture_output=True)
    return archive


def test_modes_owners_and_links() -> None:
    out = io.BytesIO()
    with Root(out) as root:
        root.merged_usr()
        root.directory("home/agent", owner=1000)
        root.file("bin/x", b"#!", mode=0o755)
    found = entries(out)
    assert found["bin"].issym()
    assert found["bin"].linkname == "usr/bin"
    assert (found["home/agent"].uid, found["home/agent"].gid) == (1000, 1000)
    assert found["tmp"].mode == 0o1777
    assert found["root"].mode == 0o700
    assert (found["bin/x"].mode, found["bin/x"].size) == (0o755, 2)


def test_a_package_of_the_old_layout_lands_in_usr(tmp_path: Path) -> None:
    package = deb(tmp_path, "old", {"bin/tool": "t", "lib/x/so": "s", "etc/conf": "c"}, {"bin/alias": "tool"})
    out = io.BytesIO()
    with Root(out) as root:
        root.merged_usr()
        root.packages([package])
    found = entries(out)
    assert found["bin"].issym()
    assert {"usr/bin/tool", "usr/bin/alias", "usr/lib/x/so", "etc/conf"} <= set(found)
    assert not any(name.startswith(("bin/", "lib/")) for name in found)


def test_hard_links_follow_their_files(tmp_path: Path) -> None:
    package = deb(tmp_path, "links", {"bin/first": "same"})
    tree = tmp_path / "links"
    (tree / "bin/second").hardlink_to(tree / "bin/first")
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, package], check=True, capture_output=True)
    out = io.BytesIO()
    with Root(out) as root:
        root.packages([package])
    found = entries(out)
    (link,) = (member for member in found.values() if member.islnk())
    assert link.linkname in found
    assert link.linkname.startswith("usr/bin/")


def test_what_is_not_wanted_stays_out(tmp_path: Path) -> None:
    package = deb(tmp_path, "docs", {"usr/share/man/x": "m", "usr/bin/y": "y"})
    out = io.BytesIO()
    with Root(out) as root:
        root.packages([package], lambda path: "/man/" not in path)
    assert "usr/bin/y" in entries(out)
    assert "usr/share/man/x" not in entries(out)


def test_the_first_of_two_entries_stays(tmp_path: Path) -> None:
    package = deb(tmp_path, "later", {"etc/passwd": "theirs, longer"})
    out = io.BytesIO()
    with Root(out) as root:
        root.file("etc/passwd", b"ours")
        root.packages([package])
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        assert [m.size for m in tar if m.name == "etc/passwd"] == [4]


def test_a_broken_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.deb").write_bytes(b"no package")
    with pytest.raises((subprocess.CalledProcessError, tarfile.ReadError)), Root(io.BytesIO()) as root:
        root.packages([tmp_path / "broken.deb"])


def test_two_writings_are_the_same_bytes(tmp_path: Path) -> None:
    package = deb(tmp_path, "same", {"usr/bin/y": "y"})
    written = []
    for _ in range(2):
        out = io.BytesIO()
        with Root(out) as root:
            root.merged_usr()
            root.packages([package])
        written.append(out.getvalue())
    assert written[0] == written[1]
