"""Fetching the CLI's package, with an npm that is a script of the test's."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local import npm
from stromboli.local.rootfs import Root
from stromboli.progress import Progress, Step

_NPM = """\
#!/bin/sh
echo "$*" >> "$CALLS"
[ -z "$FAILS" ] || { echo "npm error code E404" >&2; exit 1; }
while [ "$1" != --pack-destination ]; do shift; done
name=anthropic-ai-claude-code-linux-$ARCH-2.1.400.tgz
printf packed > "$2/$name"
printf '[{"filename": "%s"}]' "$name"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment whose npm writes to `calls` and packs version 2.1.400 of this machine's package."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/npm").write_text(_NPM)
    (tmp_path / "bin/npm").chmod(0o755)
    arch = npm.package_name().rpartition("-")[2]
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "CALLS": str(tmp_path / "calls"), "ARCH": arch, "FAILS": ""}


def quiet() -> Progress:
    return Progress(io.StringIO(), terminal=False)


def held(cache: Path, *versions: str) -> None:
    stem = npm.package_name().removeprefix("@").replace("/", "-")
    (cache / "npm").mkdir(parents=True)
    for version in versions:
        (cache / "npm" / f"{stem}-{version}.tgz").write_text(version)


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", "x64"), ("aarch64", "arm64"), ("arm64", "arm64")])
def test_each_machine_has_its_package(machine: str, arch: str) -> None:
    assert npm.package_name(machine) == f"@anthropic-ai/claude-code-linux-{arch}"


def test_a_machine_without_one_is_told() -> None:
    with pytest.raises(LocalFailure, match="no Claude CLI for riscv64"):
        npm.package_name("riscv64")


def test_it_is_packed_into_the_cache_and_nothing_else_stays(tmp_path: Path, environ: dict[str, str]) -> None:
    archive = npm.fetch(tmp_path / "cache", quiet(), environ)
    assert archive.read_text() == "packed"
    assert npm.version_of(archive) == "2.1.400"
    assert list((tmp_path / "cache/npm").iterdir()) == [archive]
    assert f"{npm.package_name()}@latest" in (tmp_path / "calls").read_text()


def test_the_newest_that_is_there_is_taken_without_asking(tmp_path: Path, environ: dict[str, str]) -> None:
    held(tmp_path, "2.1.9", "2.1.100", "2.0.999")
    assert npm.fetch(tmp_path, quiet(), environ).read_text() == "2.1.100"
    assert not (tmp_path / "calls").exists()


def test_a_pinned_version_is_that_version(tmp_path: Path, environ: dict[str, str]) -> None:
    held(tmp_path, "2.1.9", "2.1.100")
    assert npm.fetch(tmp_path, quiet(), environ, "2.1.9").read_text() == "2.1.9"
    npm.fetch(tmp_path, quiet(), environ, "2.1.400")
    assert f"{npm.package_name()}@2.1.400" in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("version", ["latest", "2.1", "--registry=x", "2.1.0 evil", "2.1.0\n", ""])
def test_what_is_no_version_never_reaches_npm(tmp_path: Path, environ: dict[str, str], version: str) -> None:
    with pytest.raises(LocalFailure, match="not a version"):
        npm.fetch(tmp_path, quiet(), environ, version)
    assert not (tmp_path / "calls").exists()


def test_npm_s_refusal_is_passed_on_and_leaves_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="E404") as failure:
        npm.fetch(tmp_path / "cache", quiet(), {**environ, "FAILS": "yes"})
    assert "install npm" in failure.value.hint
    assert list((tmp_path / "cache/npm").iterdir()) == []


@pytest.mark.parametrize(
    "output", ["", "done", "{}", "[]", "[7]", '[{"filename": 7}]', '[{"filename": ""}]', '{"x": {"filename": "x"}}']
)
def test_an_npm_that_does_not_say_what_it_packed_is_a_failure(
    tmp_path: Path, environ: dict[str, str], output: str
) -> None:
    (tmp_path / "bin/npm").write_text(f"#!/bin/sh\nprintf '%s' '{output}'\n")
    with pytest.raises(LocalFailure, match="does not say what it has packed"):
        npm.fetch(tmp_path / "cache", quiet(), environ)


def test_no_npm_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="no npm on this machine"):
        npm.fetch(tmp_path, quiet(), {**environ, "PATH": str(tmp_path)})


def package(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_the_root_holds_the_binary_where_the_operator_looks(tmp_path: Path) -> None:
    archive = package(tmp_path / "p.tgz", {"package/package.json": b"{}", "package/claude": b"ELF" * 1000})
    out, step = io.BytesIO(), Step("x")
    with Root(out) as root:
        npm.write_root(root, archive, step)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert (member.name, member.mode, content and content.read()) == (npm.CLI, 0o755, b"ELF" * 1000)


def test_an_archive_without_the_binary_is_refused(tmp_path: Path) -> None:
    archive = package(tmp_path / "p.tgz", {"package/package.json": json.dumps({}).encode()})
    with pytest.raises(LocalFailure, match="holds no package/claude"), Root(io.BytesIO()) as root:
        npm.write_root(root, archive, Step("x"))
