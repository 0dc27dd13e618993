"""Packages through apt, with an apt-get that is a script of the test's, and the base root that is made of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local import debian
from stromboli.local.rootfs import Root
from stromboli.progress import Progress

_APT = """\
#!/bin/sh
echo "$*" >> "$LOG"
for option; do
  case $option in -oDir::Cache::archives=*) archives=${option#*=} ;; esac
done
case " $* " in
  *" --print-uris "*)
    [ -z "$UNKNOWN" ] || { echo "E: Unable to locate package nonesuch" >&2; exit 100; }
    echo "'http://mirror.example/p/libc6.deb' libc6_2.36_amd64.deb 5 SHA256:aa"
    echo "'http://mirror.example/p/attr.deb' libattr1_1%3a2.5_amd64.deb 3 SHA256:bb" ;;
  *" update "*) : > "$LOG.updated" ;;
  *)
    [ -z "$STALE" ] || [ -e "$LOG.updated" ] || { echo "E: 404 Not Found" >&2; exit 100; }
    printf 12345 > "$archives/libc6_2.36_amd64.deb"
    printf 123 > "$archives/libattr1_1%3a2.5_amd64.deb" ;;
esac
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    for name, script in (("apt-get", _APT), ("dpkg-deb", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    return {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "LOG": str(tmp_path / "log"), "STALE": "", "UNKNOWN": ""}


def quiet() -> Progress:
    return Progress(io.StringIO(), terminal=False)


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_missing_archives_are_downloaded_in_apt_s_order(tmp_path: Path, environ: dict[str, str]) -> None:
    debs = debian.fetch(["bash"], tmp_path / "cache", quiet(), environ)
    assert [d.name for d in debs] == ["libc6_2.36_amd64.deb", "libattr1_1%3a2.5_amd64.deb"]
    assert all(d.is_file() for d in debs)
    assert "--download-only" in calls(tmp_path)[-1]


def test_what_is_there_is_not_fetched_again(tmp_path: Path, environ: dict[str, str]) -> None:
    for _ in range(2):
        debian.fetch(["bash"], tmp_path / "cache", quiet(), environ)
    assert sum("--print-uris" not in call and " update" not in call for call in calls(tmp_path)) == 1


def test_an_archive_cut_short_is_fetched_again(tmp_path: Path, environ: dict[str, str]) -> None:
    (first, *_) = debian.fetch(["bash"], tmp_path / "cache", quiet(), environ)
    first.write_text("12")
    debian.fetch(["bash"], tmp_path / "cache", quiet(), environ)
    assert first.read_text() == "12345"


def test_old_package_lists_are_renewed_once_in_a_folder_of_our_own(tmp_path: Path, environ: dict[str, str]) -> None:
    debs = debian.fetch(["bash"], tmp_path / "cache", quiet(), {**environ, "STALE": "yes"})
    assert all(d.is_file() for d in debs)
    assert f"-oDir::State::lists={tmp_path}/cache/apt/lists" in calls(tmp_path)[-1]


def test_the_machine_s_own_package_state_is_never_used(tmp_path: Path, environ: dict[str, str]) -> None:
    debian.fetch(["bash"], tmp_path / "cache", quiet(), environ)
    assert all(f"-oDir::State::status={tmp_path}/cache/apt/status" in call for call in calls(tmp_path))
    assert (tmp_path / "cache/apt/status").read_text() == ""


def test_without_closure_only_what_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    debian.fetch(["musl"], tmp_path / "cache", quiet(), environ, closure=False)
    assert all(" download " in call for call in calls(tmp_path) if " update" not in call)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="Unable to locate package nonesuch") as failure:
        debian.fetch(["nonesuch"], tmp_path, quiet(), {**environ, "UNKNOWN": "yes"})
    assert "sources.list" in failure.value.hint


def test_no_apt_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(LocalFailure, match="no apt on this machine"):
        debian.fetch(["bash"], tmp_path, quiet(), {**environ, "PATH": str(tmp_path)})


def test_the_python_is_the_distribution_s() -> None:
    names = ["libc6_2.39_amd64.deb", "python3-minimal_3.12.3_amd64.deb", "python3.12-minimal_3.12.3-1_amd64.deb"]
    assert debian.python_version([Path(n) for n in names]) == "3.12"
    with pytest.raises(LocalFailure, match="no python3"):
        debian.python_version([Path("libc6_2.39_amd64.deb")])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("usr/bin/python3", True),
        ("usr/share/doc/bash/copyright", True),
        ("usr/share/doc/bash/changelog.gz", False),
        ("usr/share/man/man1/ls.1.gz", False),
        ("usr/lib/python3.11/EXTERNALLY-MANAGED", False),
        ("usr/lib/python3.11/json/__init__.py", True),
        ("usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", False),
        ("usr/lib/x86_64-linux-gnu/libc.so.6", True),
    ],
)
def test_what_belongs_in_an_image(path: str, wanted: bool) -> None:
    assert debian.wanted(path) is wanted


def test_the_base_root_has_what_maintainer_scripts_would_have_made() -> None:
    out = io.BytesIO()
    with Root(out) as root:
        debian.write_base(root, [])
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        links = {m.name: m.linkname for m in tar if m.issym()}
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert b"root:x:0:0:root:/root:/bin/sh\n" in passwd.read()
        assert links["usr/bin/sh"] == "dash"
        assert links["usr/bin/python"] == "python3"
        assert tar.getmember("home/agent").uid == 1000
