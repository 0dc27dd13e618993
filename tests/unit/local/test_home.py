"""The installation's folder: where it is, who may read it, and what may be removed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stromboli.errors import LocalFailure
from stromboli.local.home import Home, mounts_below


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"STROMBOLI_HOME": "/srv/s", "XDG_DATA_HOME": "/data", "HOME": "/home/a"}, "/srv/s"),
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/a"}, "/data/stromboli"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/a"}, "/home/a/.local/share/stromboli"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/a"}, "/home/a/.local/share/stromboli"),
        ({"STROMBOLI_HOME": "", "HOME": "/home/a"}, "/home/a/.local/share/stromboli"),
    ],
)
def test_where_it_is(environ: dict[str, str], root: str) -> None:
    assert Home.of(environ).root == Path(root)


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.of({"STROMBOLI_HOME": "here"}).root == tmp_path / "here"


def test_only_its_owner_gets_in(tmp_path: Path) -> None:
    home = Home(tmp_path / "d" / "s")
    home.ensure()
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    assert home.exists


def test_a_mode_that_was_loosened_is_mended(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.ensure()
    home.root.chmod(0o755)
    home.ensure()
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ensure()
    assert home.exists


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(LocalFailure, match="is not empty"):
        Home(tmp_path).ensure()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(LocalFailure, match="cannot be created"):
        Home(tmp_path / "home").ensure()


def test_a_path_too_long_for_sockets_is_refused_with_the_excess(tmp_path: Path) -> None:
    root = Path("/tmp/" + "x" * 90)
    excess = len(f"{root}/podman/podman.sock") - 107
    with pytest.raises(LocalFailure, match=f"is {excess} bytes too long"):
        Home(root).ensure()
    assert not root.exists()


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(LocalFailure, match="is not a Stromboli home"):
        Home(tmp_path).remove()
    assert (tmp_path / "thesis.tex").exists()


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.ensure()
    home.runtime.mkdir(mode=0o700)
    (home.runtime / "secret").write_text("s")
    home.remove()
    assert not home.root.exists()
    assert not home.runtime.exists()


def test_two_homes_keep_their_secrets_apart(tmp_path: Path) -> None:
    assert Home(tmp_path / "a").runtime != Home(tmp_path / "b").runtime


def test_mounts_are_found_innermost_first(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:21 / / rw - ext4 /dev/x rw\n"
        "23 22 0:22 / /home/s rw - ext4 /dev/y rw\n"
        "24 22 0:23 / /home/s/graph rw - overlay o rw\n"
        "25 22 0:24 / /home/s/graph/a\\040b/merged rw - overlay o rw\n"
        "26 22 0:25 / /home/stromboli rw - tmpfs t rw\n"
    )
    assert mounts_below(Path("/home/s"), table) == ["/home/s/graph/a b/merged", "/home/s/graph"]
