"""What a stack mounts of the node: files and folders that policies allow, and where missing ones are created."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from stromboli import pathwalk
from stromboli.compose.problem import Mark
from stromboli.compose.stack import Anonymous, Bind, Mount, SecretMount, Service
from stromboli.errors import ComposeProblem, NotPermitted, Waiting
from stromboli.node import bindfolders
from stromboli.observe import stackpaths
from stromboli.observe.stackpaths import resolved
from stromboli.plan.policy import VolumeList
from stromboli.plan.stack.sources import Source
from stromboli.reasons import Reason
from tests.support.builders import effective, policy
from tests.support.swapping import exchanging

AT = "services.db.volumes[0]"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """srv may be written, ro may be read; allowed-evil and etc are neither."""
    root = tmp_path.resolve()
    for folder in ("srv/app/deep", "srv-evil", "etc", "ro/there"):
        (root / folder).mkdir(parents=True)
    (root / "srv/app/file").write_text("x")
    (root / "etc/shadow").write_text("x")
    return root


def rules(node: Path) -> list[VolumeList]:
    return [VolumeList("AgentPolicy node", ((f"{node}/srv", False), (f"{node}/ro", True)))]


def found(node: Path, mount: Mount | SecretMount, lists: Sequence[VolumeList] | None = None) -> Source:
    service = Service(
        "db",
        mounts=() if isinstance(mount, SecretMount) else (mount,),
        secrets=(mount,) if isinstance(mount, SecretMount) else (),
        keys={AT: Mark("compose.yaml", 9)},
    )
    result = resolved([service], rules(node) if lists is None else lists)
    assert list(result) == [mount.at]
    return result[mount.at]


def bind(node: Path, path: str, *, read_only: bool = False, create: bool = True) -> Bind:
    return Bind(AT, f"{node}/{path}", "/w", read_only, create)


def problem(node: Path, mount: Bind | SecretMount, lists: Sequence[VolumeList] | None = None) -> ComposeProblem:
    with pytest.raises(ComposeProblem) as refused:
        found(node, mount, lists)
    return refused.value


def identity(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_dev, info.st_ino


@pytest.mark.parametrize(
    ("path", "real"),
    [("srv", "srv"), ("srv/app", "srv/app"), ("srv/app/file", "srv/app/file"), ("srv/link/deep", "srv/app/deep")],
)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_file_or_folder_that_is_allowed(node: Path, path: str, real: str, read_only: bool) -> None:
    (node / "srv/link").symlink_to(node / "srv/app")
    source = found(node, bind(node, path, read_only=read_only))
    assert source == Source(str(node / real), (node / real).is_dir(), identity(node / real), "")


@pytest.mark.parametrize("path", ["etc", "etc/gone", "srv-evil", "srv-evil/gone", "gone"])
@pytest.mark.parametrize("read_only", [True, False])
def test_outside_of_what_is_allowed(node: Path, path: str, read_only: bool) -> None:
    refused = problem(node, bind(node, path, read_only=read_only))
    assert isinstance(refused, NotPermitted)
    mode = "ro" if read_only else "rw"
    said = f"({mode}) is not allowed by AgentPolicy node, which allows {node}/srv (rw), {node}/ro (ro)"
    assert str(refused) == f"compose.yaml:9: {AT}.source: {node}/{path} {said}"


@pytest.mark.parametrize("target", ["/etc", "../etc/shadow", "/proc/self/root", "../new/folder"])
def test_a_link_out_of_it(node: Path, target: str) -> None:
    (node / "srv/link").symlink_to(target)
    refused = problem(node, bind(node, "srv/link"))
    assert isinstance(refused, NotPermitted)
    assert f"{node}/srv/link (rw) leads by a link to a place that is not allowed by AgentPolicy node" in str(refused)
    assert not (node / "new").exists()


def test_to_write_where_only_reading_is_allowed(node: Path) -> None:
    assert isinstance(problem(node, bind(node, "ro/there")), NotPermitted)
    assert found(node, bind(node, "ro/there", read_only=True)).identity
    (node / "srv/link").symlink_to("../ro/there")
    assert isinstance(problem(node, bind(node, "srv/link")), NotPermitted)


def test_every_policy_has_to_allow_it(node: Path) -> None:
    both = [*rules(node), VolumeList("AgentPolicy other", ((f"{node}/srv/app", False),))]
    assert found(node, bind(node, "srv/app/deep"), both).identity
    assert "AgentPolicy other" in str(problem(node, bind(node, "srv"), both))
    assert "no policy allows any host path" in str(problem(node, bind(node, "srv"), []))


def test_no_sockets_pipes_and_devices(node: Path) -> None:
    os.mkfifo(node / "srv/pipe")
    (node / "srv/link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(node / "srv/docker.sock"))
    everything = [VolumeList("AgentPolicy all", (("/", False),))]
    said = {
        f"{node}/srv/pipe": "a named pipe",
        f"{node}/srv/link": "a named pipe",
        f"{node}/srv/docker.sock": "a socket",
    }
    for path, what in (said | {"/dev/null": "a device"}).items():
        refused = problem(node, Bind(AT, path, "/w", True), everything)
        assert str(refused) == f"compose.yaml:9: {AT}.source: {path} is {what}; only files and folders can be mounted"


@pytest.mark.parametrize("path", ["/proc", "/proc/self/fd", "/sys/fs/cgroup"])
def test_nothing_of_the_kernels(node: Path, path: str) -> None:
    refused = problem(node, Bind(AT, path, "/w", True), [VolumeList("AgentPolicy all", (("/", False),))])
    assert isinstance(refused, NotPermitted)
    assert "the kernel's" in str(refused)


@pytest.mark.parametrize("path", ["srv/circle", "srv/app/file/x", "srv/" + "x" * 300, "srv/a\0b"])
def test_what_can_never_be_mounted(node: Path, path: str) -> None:
    (node / "srv/circle").symlink_to("circle")
    refused = problem(node, bind(node, path))
    assert not isinstance(refused, NotPermitted)
    assert refused.key == f"{AT}.source"


def test_a_secret_is_a_regular_file(node: Path) -> None:
    at = "secrets.s.file"
    assert not found(node, SecretMount(at, at, f"{node}/srv/app/file", "/run/secrets/s")).folder
    assert found(
        node, SecretMount(at, at, f"{node}/srv/app/file", "/run/secrets/s"), [VolumeList("a", ((f"{node}/srv", True),))]
    )
    for path, said in {
        "srv/app": "is a folder, not a regular file",
        "srv/gone": "is not there; create it first",
    }.items():
        assert str(problem(node, SecretMount(at, at, f"{node}/{path}", "/s"))) == f"{at}: {node}/{path} {said}"
    assert isinstance(problem(node, SecretMount(at, at, f"{node}/etc/shadow", "/s")), NotPermitted)


def test_other_mounts_need_no_node() -> None:
    assert resolved([Service("db", mounts=(Anonymous(AT, "/w"),))], []) == {}


def test_their_number_is_bounded(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stackpaths, "MOST", 2)
    mounts = tuple(Bind(f"services.db.volumes[{n}]", f"{node}/srv", f"/w{n}") for n in range(3))
    assert len(resolved([Service("db", mounts=mounts[:2])], rules(node))) == 2
    with pytest.raises(ComposeProblem, match=r"^services\.db\.volumes\[2\]: is one too many"):
        resolved([Service("db", mounts=mounts)], rules(node))


async def test_a_servers_own_trouble_is_waited_for(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, folder: int) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    under = effective(policy("node", volumes={"allowed": [{"path": str(node)}]}))
    service = Service("db", mounts=(bind(node, "srv"),))
    assert list(await stackpaths.resolve([service], under)) == [AT]
    monkeypatch.setattr(pathwalk, "_opened", opened)
    with pytest.raises(Waiting, match="cannot be accessed") as waiting:
        await stackpaths.resolve([service], effective(policy("node", volumes={"allowed": [{"path": "/"}]})))
    assert waiting.value.reason is Reason.WaitingForReference


# --- folders that are missing ---


@pytest.mark.parametrize(("path", "real"), [("srv/new", "srv/new"), ("srv/link/a/b", "srv/app/a/b")])
def test_a_missing_folder_is_created(node: Path, path: str, real: str) -> None:
    (node / "srv/link").symlink_to("app")
    mask = os.umask(0o077)
    try:
        source = found(node, bind(node, path))
        assert source == Source(str(node / real), True, None, str(node / "srv"))
        assert not (node / real).exists(), "looking creates nothing"
        made = bindfolders.made(AT, source)
    finally:
        os.umask(mask)
    assert made.identity == identity(node / real)
    assert found(node, bind(node, path)).identity == made.identity
    created = [node / real, *(parent for parent in (node / real).parents if parent.name == "a")]
    assert {(each.stat().st_mode & 0o7777, each.stat().st_uid) for each in created} == {(0o755, os.geteuid())}
    assert bindfolders.made(AT, made) is made


def test_through_a_link_that_leads_nowhere_yet(node: Path) -> None:
    (node / "srv/link").symlink_to("new/./folder/")
    assert found(node, bind(node, "srv/link/below")).path == f"{node}/srv/new/folder/below"
    (node / "srv/other").symlink_to("new/../app")
    assert "leads through a folder that is not there" in str(problem(node, bind(node, "srv/other")))


@pytest.mark.parametrize("path", ["ro/new", "ro/there/new"])
def test_nothing_is_created_where_only_reading_is_allowed(node: Path, path: str) -> None:
    assert "nothing is created; create it first" in str(problem(node, bind(node, path, read_only=True)))


def test_nothing_is_created_if_the_file_says_so(node: Path) -> None:
    said = "is not there; create it first"
    assert said in str(problem(node, bind(node, "srv/new", create=False)))


def test_the_allowed_folder_itself_is_not_created(node: Path) -> None:
    allowed = [VolumeList("AgentPolicy node", ((f"{node}/srv/later", False),))]
    refused = problem(node, bind(node, "srv/later/x"), allowed)
    assert f"is in the allowed folder {node}/srv/later, which is not there; create that first" in str(refused)
    source = Source(f"{node}/srv/later/x", True, None, f"{node}/srv/later")
    with pytest.raises(ComposeProblem, match="was changed meanwhile"):
        bindfolders.made(AT, source)
    assert not (node / "srv/later").exists()


@pytest.mark.parametrize("what", ["link", "file", "link above"])
def test_what_was_put_there_meanwhile_is_not_followed(node: Path, what: str) -> None:
    source = found(node, bind(node, "srv/a/b"))
    match what:
        case "link":
            (node / "srv/a").mkdir()
            (node / "srv/a/b").symlink_to(node / "etc")
        case "file":
            (node / "srv/a").write_text("")
        case _:
            (node / "srv/a").symlink_to(node / "etc")
    with pytest.raises(ComposeProblem, match=rf"{node}/srv/a/b was changed meanwhile: try again"):
        bindfolders.made(AT, source)
    assert not (node / "etc/b").exists()


def test_a_folder_that_somebody_else_creates_meanwhile_is_used_as_it_is(node: Path) -> None:
    source = found(node, bind(node, "srv/new"))
    (node / "srv/new").mkdir(mode=0o700)
    assert bindfolders.made(AT, source).identity == identity(node / "srv/new")
    assert (node / "srv/new").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_created(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = found(node, bind(node, "srv/new"))
    for trouble, expected in ((errno.EROFS, ComposeProblem), (errno.ENOSPC, OSError)):

        def mkdir(*_: object, trouble: int = trouble, **__: object) -> None:
            raise OSError(trouble, os.strerror(trouble))

        monkeypatch.setattr(os, "mkdir", mkdir)
        with pytest.raises(expected):
            bindfolders.made(AT, source)


def test_under_load_nothing_is_created_outside(node: Path) -> None:
    """A folder on the way changes places with a link to one that is not allowed."""
    (node / "srv/flip").mkdir()
    (node / "srv/link").symlink_to(node / "etc")
    created = 0
    with exchanging(node / "srv/flip", node / "srv/link", pause=0.0005):
        for n in range(300):
            try:
                source = found(node, bind(node, f"srv/flip/{n}/deep"))
                bindfolders.made(AT, source)
                created += 1
            except ComposeProblem:
                continue
    assert created > 0
    assert os.listdir(node / "etc") == ["shadow"]


def test_no_descriptor_is_left_open(node: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    bindfolders.made(AT, found(node, bind(node, "srv/x/y/z")))
    (node / "srv/blocked").write_text("")
    with pytest.raises(ComposeProblem):
        bindfolders.made(AT, Source(f"{node}/srv/blocked/x", True, None, f"{node}/srv"))
    assert len(os.listdir("/proc/self/fd")) == before
