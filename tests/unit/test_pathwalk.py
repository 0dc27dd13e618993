"""Walking a path name by name: it finds what the kernel finds, and nothing else whatever is swapped."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stromboli import pathwalk
from stromboli.pathwalk import walked
from tests.support.swapping import exchanging

PARTS = st.sampled_from(["a", "b", "link", "up", "circle", "far", "..", ".", "", "gone"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree").resolve()
    (root / "a/b").mkdir(parents=True)
    (root / "a/file").write_text("x")
    (root / "a/link").symlink_to("b")
    (root / "a/b/up").symlink_to("../..")
    (root / "a/far").symlink_to(root / "a/b/up/a")
    (root / "a/circle").symlink_to("circle")
    (root / "link").symlink_to("a/link/up/a/./b/")
    return root


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(PARTS, max_size=7))
def test_it_finds_what_the_kernel_finds(tree: Path, parts: list[str]) -> None:
    path = "/".join([str(tree), *parts])
    assert found_by(lambda: place(path)) == found_by(lambda: os.path.realpath(path, strict=True))


def found_by(resolve: Callable[[], str]) -> str | int | None:
    try:
        return resolve()
    except OSError as error:
        return error.errno


def place(path: str, root: str = "/") -> str:
    with walked(path, root=root) as found:
        assert os.path.samestat(found.info, os.fstat(found.descriptor))
        return found.path


@pytest.mark.parametrize(
    ("path", "led"),
    [
        ("gone", "gone"),
        ("a/link/gone/further", "a/b/gone/further"),
        ("a/far/gone/../x", "a/gone/../x"),
        ("a/file/x", "a/file/x"),
        ("a/circle/x", "a/circle/x"),
    ],
)
def test_an_error_names_where_the_path_leads(tree: Path, path: str, led: str) -> None:
    with pytest.raises(OSError) as error, walked(f"{tree}/{path}"):
        pass
    assert error.value.filename == f"{tree}/{led}"


def test_below_a_root_of_its_own_nothing_leads_out(tree: Path) -> None:
    (tree / "a/b/out").symlink_to("/../../../file")
    assert place("/b/out", str(tree / "a")) == "/file"
    assert place("/b/up/../../b", str(tree / "a")) == "/b"
    with pytest.raises(FileNotFoundError):
        place("/far", str(tree / "a"))  # its target begins at the other root
    with walked("/..", root=str(tree / "link")) as found:
        assert os.path.samestat(found.info, (tree / "a/b").stat())
    (tree / "a/b/out").unlink()


def test_the_kernels_own_links_are_read_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("w") as opened:
        way = f"/proc/self/fd/{opened.fileno()}"
        assert place(way) == str(file.resolve())
        file.unlink()
        with pytest.raises(FileNotFoundError):
            place(way)
    read, write = os.pipe()
    with pytest.raises(FileNotFoundError):
        place(f"/proc/self/fd/{read}")
    for each in (read, write):
        os.close(each)


def test_what_is_not_a_file_is_not_opened(tmp_path: Path) -> None:
    """Opening a pipe would block, opening a socket fails, and opening a device has effects."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "socket"):
            with walked(str(tmp_path / name)) as found:
                assert (found.regular, found.folder) == (False, False)


def test_a_path_of_many_steps_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to("../a/" * 700 + ".")
    with pytest.raises(OSError) as error:
        place(f"{tmp_path}/a/" + "link/" * 20)
    assert error.value.errno == errno.ELOOP


@pytest.mark.parametrize("path", ["a", "a/b", "gone", "a/circle", "a/far/x", "a/file/x"])
def test_no_descriptor_is_left_open(tree: Path, path: str) -> None:
    before = os.listdir("/proc/self/fd")
    found_by(lambda: place(f"{tree}/{path}"))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_each_access_is_surrounded(tree: Path) -> None:
    touched: list[str] = []

    @contextmanager
    def touching(path: str) -> Iterator[None]:
        touched.append(path)
        yield

    with walked("/a/link/up/a", root=str(tree), touching=touching) as found:
        assert found.path == "/a"
    # `..` begins again, in the folders that are known by then
    assert touched == ["/a", "/a/link", "/a/b", "/a/b/up", "/a", "/a"]


def test_a_folder_that_is_a_link_now_and_then_leads_to_one_of_both(tmp_path: Path) -> None:
    """What is open is always what the place's path says: never the link's target under the folder's name."""
    root = tmp_path.resolve()
    for folder in ("allowed/flip", "secret"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text(folder)
    (root / "allowed/link").symlink_to("../secret")
    seen: set[str] = set()
    with exchanging(root / "allowed/flip", root / "allowed/link", pause=0.0005):
        for _ in range(1000):
            with walked(f"{root}/allowed/flip/file") as found:
                descriptor = pathwalk.reopened(found.descriptor, os.O_RDONLY)
                with open(descriptor) as file:
                    content = file.read()
            seen.add(content)
            assert found.path.startswith(f"{root}/secret") == (content == "secret"), found.path
    assert seen == {"allowed/flip", "secret"}
