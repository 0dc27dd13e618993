"""The files that a stack is made of: only regular ones, only where policies allow it, each read once and whole."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stromboli import pathwalk
from stromboli.errors import Unanswered, Unreadable, Waiting
from stromboli.observe import hostfiles, stackfiles
from stromboli.observe.stackfiles import NodeFiles
from stromboli.plan.policy import VolumeList
from stromboli.reasons import Reason
from tests.support.swapping import exchanging

LONGEST = 1024
CHANGED = b"was changed while it was read: try again"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """srv is allowed; srv-evil and etc are not."""
    root = tmp_path.resolve()
    for folder in ("srv/app", "srv-evil", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "srv/app/compose.yaml").write_text("services: {}\n")
    (root / "etc/shadow").write_text("secret")
    (root / "srv-evil/file").write_text("secret")
    return root


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has just written counts as written."""
    monkeypatch.setattr(stackfiles, "SETTLED", 0.0)


def files(*folders: Path | str, read_only: bool = False) -> NodeFiles:
    return NodeFiles([VolumeList("AgentPolicy node", tuple((str(folder), read_only) for folder in folders))])


def unreadable(found: NodeFiles, path: Path | str, longest: int = LONGEST) -> Unreadable:
    with pytest.raises(Unreadable) as problem:
        found.read(str(path), longest)
    return problem.value


@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_in_an_allowed_folder(node: Path, read_only: bool) -> None:
    assert files(node / "srv", read_only=read_only).read(f"{node}/srv/app/compose.yaml", LONGEST) == b"services: {}\n"


def test_a_link_within_the_allowed_folders(node: Path) -> None:
    (node / "srv/link").symlink_to("app")
    (node / "allowed").symlink_to("srv")
    for folder in ("srv", "allowed"):
        found = files(node / folder)
        assert found.read(f"{node}/srv/link/compose.yaml", LONGEST)
        assert found.read(f"{node}/allowed/link/compose.yaml", LONGEST)


@pytest.mark.parametrize("path", ["etc/shadow", "etc", "etc/gone", "srv-evil/file", "srvx", "gone/gone"])
def test_outside_it_is_not_said_what_is_there(node: Path, path: str) -> None:
    problem = unreadable(files(node / "srv"), node / path)
    assert str(problem) == f"is not allowed by AgentPolicy node, which allows {node}/srv (rw)"
    assert (problem.missing, problem.permitted) == (False, False)


@pytest.mark.parametrize(
    "target",
    [
        "{}/etc/shadow",
        "../etc/shadow",
        "../etc/gone",
        "app/../../srv-evil/file",
        "twice",
        "/proc/self/cwd",
        "/proc/self/root/etc/passwd",
    ],
)
def test_a_link_out_of_the_allowed_folders(node: Path, target: str) -> None:
    """Not even where it leads is said: anybody can make a link into /proc, for example."""
    (node / "srv/twice").symlink_to("../etc")
    (node / "srv/link").symlink_to(target.format(node))
    problem = unreadable(files(node / "srv"), node / "srv/link")
    assert str(problem).startswith("leads by a link to a place that is not allowed by AgentPolicy node, which allows")
    assert not problem.permitted


def test_every_policy_has_to_allow_it(node: Path) -> None:
    both = [VolumeList("AgentPolicy a", ((str(node), False),)), VolumeList("AgentPolicy b", ((f"{node}/srv", True),))]
    found = NodeFiles(both)
    assert found.read(f"{node}/srv/app/compose.yaml", LONGEST)
    assert "AgentPolicy b" in str(unreadable(found, node / "etc/shadow"))
    assert "no policy allows any host path" in str(unreadable(NodeFiles([]), node / "srv/app/compose.yaml"))


@pytest.mark.parametrize("name", ["gone", "gone/further", "app/compose.yaml/x", "dangling"])
def test_what_is_not_there_is_missing(node: Path, name: str) -> None:
    (node / "srv/dangling").symlink_to("gone")
    problem = unreadable(files(node / "srv"), node / "srv" / name)
    assert (str(problem), problem.missing, problem.permitted) == ("is not there", True, True)


def test_a_circle_of_links_is_not_missing(node: Path) -> None:
    (node / "srv/circle").symlink_to("circle")
    problem = unreadable(files(node / "srv"), node / "srv/circle")
    assert (str(problem), problem.missing) == ("cannot be read (Too many levels of symbolic links)", False)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800"])
def test_a_name_that_no_file_can_have(node: Path, name: str) -> None:
    assert not unreadable(files(node / "srv"), f"{node}/srv/{name}").missing


def test_only_regular_files(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is something else is never opened: to open a pipe waits, and to open a device has effects."""
    opened: list[int] = []
    monkeypatch.setattr(pathwalk, "reopened", lambda descriptor, _: opened.append(descriptor))
    os.mkfifo(node / "srv/pipe")
    (node / "srv/link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(node / "srv/socket"))
    (node / "srv/device").symlink_to("/dev/null")
    said = {
        "pipe": "a named pipe",
        "link": "a named pipe",
        "socket": "a socket",
        "device": "a device",
        "app": "a folder",
    }
    said["app"] = "a folder"
    found = files(node / "srv", "/dev")
    for name, what in said.items():
        assert str(unreadable(found, node / "srv" / name)) == f"is {what}, not a regular file"
    assert opened == []


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/self/status", "/sys/kernel/uevent_seqnum"])
def test_nothing_of_the_kernels_even_if_everything_is_allowed(path: str) -> None:
    """The operator's own environment is there."""
    problem = unreadable(files("/"), path)
    assert "which is the kernel's, and nothing of a project" in str(problem) or str(problem).startswith("is the kernel")
    assert not problem.permitted


def test_descriptors_of_the_operators_own(node: Path) -> None:
    with (node / "etc/shadow").open() as file:
        way = f"/proc/self/fd/{file.fileno()}"
        (node / "srv/link").symlink_to(way)
        assert not unreadable(files(node / "srv"), node / "srv/link").permitted
        assert not unreadable(files(node / "srv"), way).permitted


def test_its_length_is_bounded(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (node / "srv/file").write_bytes(b"x" * LONGEST)
    with (node / "srv/sparse").open("wb") as sparse:
        sparse.truncate(5 << 40)
    found = files(node / "srv")
    assert len(found.read(f"{node}/srv/file", LONGEST)) == LONGEST
    assert str(unreadable(found, node / "srv/file", LONGEST - 1)) == "is too large: at most 1023 bytes"
    assert str(unreadable(found, node / "srv/sparse")) == "is too large: at most 1024 bytes"
    monkeypatch.setattr(stackfiles, "MOST_BYTES", LONGEST)
    (node / "srv/other").write_bytes(b"x")
    assert "may have 1024 bytes together" in str(unreadable(found, node / "srv/other"))


def test_the_number_of_files_is_bounded(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stackfiles, "MOST_FILES", 2)
    found = files(node / "srv")
    assert found.read(f"{node}/srv/app/compose.yaml", LONGEST)
    assert unreadable(found, node / "srv/gone").missing
    assert "one too many: a stack may read 2 files" in str(unreadable(found, node / "srv/other"))
    assert unreadable(found, node / "srv/gone").missing, "what is known stays so"


def test_each_file_is_read_once(node: Path) -> None:
    found = files(node / "srv")
    path = f"{node}/srv/app/compose.yaml"
    assert found.read(path, LONGEST) == b"services: {}\n"
    assert unreadable(found, node / "srv/late").missing
    Path(path).write_text("changed")
    (node / "srv/late").write_text("there")
    assert found.read(path, LONGEST) == b"services: {}\n"
    assert unreadable(found, node / "srv/late").missing


# --- changes ---


def test_a_file_that_changes_once_is_read_again(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = node / "srv/app/compose.yaml"
    changes: list[Callable[[], object]] = [lambda: path.write_text("services: {a: }"), lambda: None]
    meddle(monkeypatch, lambda: changes.pop(0)())
    assert files(node / "srv").read(str(path), LONGEST) == b"services: {a: }"


@pytest.mark.parametrize("how", ["grows", "shrinks", "same size", "times set back"])
def test_a_file_that_keeps_changing_is_refused(node: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    path = node / "srv/app/compose.yaml"
    before = path.stat()

    def change() -> None:
        match how:
            case "grows":
                with path.open("a") as file:
                    file.write("x")
            case "shrinks":
                os.truncate(path, path.stat().st_size - 1)
            case _:
                path.write_text("services: {}\n")
        if how == "times set back":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    meddle(monkeypatch, change)
    problem = unreadable(files(node / "srv"), path)
    assert str(problem) == "was changed while it was read: try again"
    assert problem.permitted
    assert not problem.missing


def meddle(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Make a change after each file is opened for reading and looked at, before its content is read."""
    of = stackfiles._Version.of
    looks = 0

    def looked(descriptor: int) -> stackfiles._Version:
        nonlocal looks
        found, looks = of(descriptor), looks + 1
        if looks % 2 == 1:
            until = time.monotonic() + 0.02  # longer than a tick of the clock that times of files are from
            while time.monotonic() < until:
                pass
            change()
        return found

    monkeypatch.setattr(stackfiles._Version, "of", looked)


def test_a_file_of_which_half_is_written_is_waited_for(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stackfiles, "SETTLED", 0.05)
    path, sleep = node / "srv/file", time.sleep
    path.write_text("one half")

    def pause(seconds: float) -> None:
        if path.stat().st_size == len("one half"):
            path.write_text("one half and the other")
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    assert files(node / "srv").read(str(path), LONGEST) == b"one half and the other"


@pytest.mark.parametrize("clock", [-3600.0, 3600.0])
def test_a_servers_wrong_clock_does_not_matter(node: Path, monkeypatch: pytest.MonkeyPatch, clock: float) -> None:
    monkeypatch.setattr(stackfiles, "SETTLED", 0.05)
    monkeypatch.setattr(time, "time", lambda: time.time_ns() / 1e9 + clock)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it was waited for"))
    assert files(node / "srv").read(f"{node}/srv/app/compose.yaml", LONGEST)


def test_a_file_that_is_written_all_the_time_is_whole_or_refused(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each version is one letter many times; half of one and half of another is none."""
    monkeypatch.setattr(stackfiles, "SETTLED", 0.3)  # more than a busy machine keeps the writer from its second half
    path, ended = node / "srv/file", threading.Event()
    path.write_bytes(b"a" * 400_000)

    def write() -> None:
        while not ended.is_set():
            for letter in (b"a", b"b"):
                with path.open("r+b") as file:
                    file.write(letter * 400_000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(8):
            content = read(node, path, 1 << 20)
            assert len(set(content)) == 1 or content == CHANGED
    finally:
        ended.set()
        thread.join()


def test_a_file_that_is_replaced_is_one_of_both(node: Path) -> None:
    one, other = node / "srv/one", node / "srv/other"
    one.write_text("one")
    other.write_text("other")
    with exchanging(one, other, pause=0.001):
        seen = {read(node, one) for _ in range(300)}
    assert seen - {CHANGED} == {b"one", b"other"}


def read(node: Path, path: Path, longest: int = LONGEST) -> bytes:
    """The content, or what keeps it from being read."""
    try:
        return files(node / "srv").read(str(path), longest)
    except Unreadable as problem:
        return str(problem).encode()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_swap_for_a_link_never_leads_out(node: Path, what: str) -> None:
    """Whoever may write in an allowed folder swaps what was looked at for a link to what is not allowed."""
    (node / "srv/flip").mkdir()
    (node / "srv/flip/shadow").write_text("harmless")
    flip = node / "srv/flip" if what == "folder" else node / "srv/flip/shadow"
    link = flip.with_name("link")
    link.symlink_to(node / "etc" if what == "folder" else node / "etc/shadow")
    with exchanging(flip, link, pause=0.0005):
        seen = {read(node, node / "srv/flip/shadow") for _ in range(1000)} - {CHANGED}
    assert b"harmless" in seen
    assert {content[:8] for content in seen} == {b"harmless", b"leads by"}


def test_a_pipe_in_place_of_a_file_does_not_hang(node: Path) -> None:
    flip, pipe = node / "srv/flip", node / "srv/pipe"
    flip.write_text("harmless")
    os.mkfifo(pipe)
    with exchanging(flip, pipe, pause=0.0005):
        seen = {read(node, flip) for _ in range(1000)}
    assert seen - {CHANGED} == {b"harmless", b"is a named pipe, not a regular file"}


def test_a_lease_on_the_file_is_not_waited_for(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a leased file waits for up to 45 seconds."""
    path = node / "srv/app/compose.yaml"
    before = signal.signal(signal.SIGIO, lambda *_: None)
    try:
        with path.open("a") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            assert str(unreadable(files(node / "srv"), path)) == "is being changed: try again"
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, before)


# --- file systems in trouble ---


@pytest.mark.parametrize("trouble", [errno.ESTALE, errno.EIO, errno.ENOTCONN])
def test_a_file_systems_own_trouble_is_waited_for(node: Path, monkeypatch: pytest.MonkeyPatch, trouble: int) -> None:
    def reopened(descriptor: int, flags: int) -> int:
        raise OSError(trouble, os.strerror(trouble))

    monkeypatch.setattr(pathwalk, "reopened", reopened)
    with pytest.raises(Waiting, match=r"compose.yaml cannot be read \(") as waiting:
        files(node / "srv").read(f"{node}/srv/app/compose.yaml", LONGEST)
    assert waiting.value.reason is Reason.WaitingForReference


@pytest.fixture
def dead(node: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """srv/app is a mount that keeps whoever opens something there."""
    place, back = node / "srv/app", threading.Event()
    table = node / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {place} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(hostfiles, "MOUNTS", table)
    monkeypatch.setattr(hostfiles, "PATIENCE", 0.1)
    open_ = pathwalk._opened

    def opened(name: str, folder: int) -> int:
        if os.readlink(f"/proc/self/fd/{folder}") == str(place):
            back.wait()
        return open_(name, folder)

    monkeypatch.setattr(pathwalk, "_opened", opened)
    yield place
    back.set()
    with hostfiles._changed:
        hostfiles._changed.wait_for(lambda: not hostfiles._touching)


async def test_a_server_that_is_gone_hangs_nothing(dead: Path, node: Path) -> None:
    (node / "srv/other").write_text("there")
    found = await hostfiles.in_time(files, node / "srv")
    with pytest.raises(Unanswered, match=f"the file system at {dead} on the node does not respond"):
        await hostfiles.in_time(found.read, str(dead / "compose.yaml"), LONGEST)
    assert await hostfiles.in_time(files(node / "srv").read, f"{node}/srv/other", LONGEST) == b"there"
