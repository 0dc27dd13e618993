"""Conversations of the real CLI, read back through the real Podman, and hostile files left in their place."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.errors import PodmanError
from stromboli.node import conversations
from stromboli.node.conversations import Conversations
from stromboli.plan.history import Wanted
from stromboli.plan.redaction import KEYS, Secrets
from stromboli.podman.connection import Connection
from stromboli.podman.folders import Folders
from stromboli.podman.transport import Podman
from tests.support.podman import IsolatedPodman
from tests.support.waiting import eventually

LIMIT = 60.0
INSTALLATION = "11111111-1111-4111-8111-111111111111"
WORKDIR = "/work/a_b.c"
PROJECTS = f"{naming.CONFIG_DIR}/projects"


@dataclass(frozen=True, slots=True)
class Session:
    """One session's objects in Podman."""

    podman: IsolatedPodman
    image: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    installation: str = INSTALLATION

    @property
    def id(self) -> str:
        return naming.conversation(self.uid)

    @property
    def image_id(self) -> str:
        return image_id(self.podman, self.image)

    def with_volume(self) -> Session:
        self.podman.run("volume", "create", *self._labels(), naming.volume(self.uid))
        return self

    def with_container(self, *command: str) -> Session:
        """Create the session's container, without starting it."""
        name = naming.agent(self.uid).name
        self.podman.run(
            "create", "--name", name, *self._labels(), "--network", "none", *self._volume(), self.image, *command
        )
        return self

    def has(self, script: str) -> Session:
        """Run a shell script with the session's volume mounted."""
        self.podman.run("run", "--rm", "--network", "none", *self._volume(), self.image, "sh", "-ec", script)
        return self

    def remove(self) -> None:
        self.podman.remove_containers(naming.agent(self.uid).name)
        self.podman.run("volume", "rm", "--force", naming.volume(self.uid))

    def _labels(self) -> list[str]:
        labels = {naming.INSTALLATION: self.installation, naming.OWNER: self.uid}
        return [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]

    def _volume(self) -> list[str]:
        return ["--volume", f"{naming.volume(self.uid)}:{naming.SESSION}"]


@cache
def image_id(podman: IsolatedPodman, image: str) -> str:
    return podman.run("image", "inspect", "--format", "{{.Id}}", image)


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the stand-in's socket."""
    folder = tmp_path_factory.mktemp("standin")
    socket = folder / "api.sock"
    arguments = ["--socket", str(socket), "--log", str(folder / "log")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stromboli.standin", *arguments], env=environ, stdout=subprocess.DEVNULL
    )
    try:
        eventually(socket.exists, "the stand-in's socket", lambda: process.poll())
        yield folder
    finally:
        process.terminate()
        process.wait(LIMIT)


@pytest.fixture(scope="module")
def spoken(isolated_podman: IsolatedPodman, glibc_image: str, cli_image: str, standin: Path) -> Iterator[Session]:
    """A session with two prompts to the real CLI."""
    session = Session(isolated_podman, glibc_image).with_volume()
    cli = isolated_podman.run("image", "mount", cli_image)
    variables = {
        "ANTHROPIC_UNIX_SOCKET": "/standin/api.sock",
        "ANTHROPIC_BASE_URL": "http://standin",
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CONFIG_DIR": naming.CONFIG_DIR,
        "IS_SANDBOX": "1",
        "HOME": "/tmp",
    }
    mounts = ["--volume", f"{standin}:/standin:ro", "--volume", f"{cli}:/opt/claude:ro"]
    mounts += ["--volume", f"{naming.volume(session.uid)}:{naming.SESSION}"]
    env = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    claude = "/opt/claude/bin/claude -p --output-format stream-json --verbose --dangerously-skip-permissions"
    for prompt, option in (("ECHO{hello}", "--session-id"), ("BASH{echo one; echo two}", "--resume")):
        script = f"mkdir -p {WORKDIR}; cd {WORKDIR}; exec {claude} {option} {session.id}"
        isolated_podman.run(
            *["run", "--rm", "--interactive", "--network", "none", *mounts, *env],
            *[glibc_image, "sh", "-c", script],
            stdin=prompt.encode(),
        )
    isolated_podman.run("image", "unmount", cli_image)
    yield session
    session.remove()


@pytest.fixture
def session(isolated_podman: IsolatedPodman, busybox_only_image: str) -> Iterator[Session]:
    """A session of the test's own, without a conversation."""
    made = Session(isolated_podman, busybox_only_image).with_volume()
    yield made
    made.remove()


def given_nothing(_: str) -> Secrets:
    return KEYS


@pytest.fixture
async def reader(podman: Podman, podman_socket: Path) -> AsyncIterator[Conversations]:
    connection = Connection(podman_socket)
    yield Conversations(podman, Folders(connection), INSTALLATION, given_nothing)
    await connection.close()


async def read(reader: Conversations, session: Session, image_id: str = "") -> conversations.Conversation | None:
    wanted = reader.read(session.uid, session.id, image_id or session.image_id)
    return await asyncio.wait_for(wanted, LIMIT)


async def said(reader: Conversations, session: Session) -> list[str] | None:
    found = await read(reader, session)
    return None if found is None else [message.text for message in found.messages]


def line(text: str) -> str:
    return json.dumps({"type": "user", "message": {"role": "user", "content": text}})


def writes(session: Session, text: str, folder: str = "-work") -> str:
    """A shell command that writes a record with this one message."""
    path = f"{PROJECTS}/{folder}"
    return f"mkdir -p {path}; echo '{line(text)}' > {path}/{session.id}.jsonl;"


# --- what the real CLI wrote ---


@pytest.mark.parametrize("state", ["volume only", "created", "running", "ended"])
async def test_what_was_said_is_read_back(reader: Conversations, spoken: Session, state: str) -> None:
    name = naming.agent(spoken.uid).name
    if state != "volume only":
        spoken.with_container("sleep", "100" if state == "running" else "0")
    if state in ("running", "ended"):
        spoken.podman.run("start", name)
    if state == "ended":
        spoken.podman.run("wait", name)
    try:
        found = await read(reader, spoken)
    finally:
        spoken.podman.remove_containers(name)
    assert found is not None
    assert not found.truncated
    assert [(m.role, m.text, m.tools) for m in found.messages] == [
        ("user", "ECHO{hello}", ()),
        ("assistant", "hello", ()),
        ("user", "BASH{echo one; echo two}", ()),
        ("assistant", "", ("Bash",)),
        ("tool", "one\ntwo", ("Bash",)),
        ("assistant", "The offline stand-in passes on what the tool said: one\ntwo", ()),
    ]
    times = [m.time for m in found.messages]
    assert None not in times
    assert times == sorted(times, key=str)


async def test_all_that_the_cli_has_recorded_of_it(reader: Conversations, spoken: Session) -> None:
    async def part(wanted: Wanted) -> conversations.History:
        found = await asyncio.wait_for(reader.entries(spoken.uid, spoken.id, spoken.image_id, wanted), LIMIT)
        assert found is not None
        assert not found.truncated
        return found

    whole = await part(Wanted())
    entries = [entry.json for entry in whole.entries]
    assert whole.total == len(entries)
    assert [entry["type"] for entry in entries if entry["content"]["blocks"]] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert {(entry["cwd"], entry["truncated"]) for entry in entries} == {(WORKDIR, False)}
    assert all(str(uuid.UUID(entry["uuid"])) == entry["uuid"] and entry["timestamp"] for entry in entries)
    assert entries[-1]["parentUUID"] == entries[-2]["uuid"]
    assert all(entry["parentUUID"] for entry in entries[1:])  # some are the CLI's own notes, which are no messages
    assert all(entry["version"].count(".") == 2 for entry in entries)
    answers = [entry for entry in entries if entry["type"] == "assistant"]
    assert all(answer["content"]["model"] and answer["content"]["messageID"] for answer in answers)
    assert all(answer["content"]["usage"]["outputTokens"] > 0 for answer in answers)
    [called] = [block for entry in entries for block in entry["content"]["blocks"] if block["type"] == "tool_use"]
    assert (called["name"], called["input"]["command"]) == ("Bash", "echo one; echo two")
    [told] = [entry for entry in entries if entry["toolResult"] is not None]
    assert told["toolResult"] == {"stdout": "one\ntwo", "stderr": "", "interrupted": False, "isImage": False}
    assert told["content"]["blocks"] == [
        {"type": "tool_result", "toolUseID": called["id"], "content": "one\ntwo", "isError": False}
    ]
    assert (await part(Wanted(1, 2))).entries == whole.entries[1:3]
    alone = await part(Wanted(uuid=told["uuid"]))
    assert ([entry.json for entry in alone.entries], alone.total) == ([told], whole.total)
    assert (await part(Wanted(uuid="none"))).entries == ()


async def test_the_throw_away_container_is_thrown_away(reader: Conversations, spoken: Session) -> None:
    before = spoken.podman.run("ps", "--all", "--format", "{{.Names}}")
    assert await read(reader, spoken) is not None
    assert spoken.podman.run("ps", "--all", "--format", "{{.Names}}") == before
    labels = json.loads(spoken.podman.run("volume", "inspect", naming.volume(spoken.uid)))[0]["Labels"]
    assert labels[naming.OWNER] == spoken.uid


async def test_it_is_thrown_away_also_where_the_reader_has_gone(
    podman: Podman, podman_socket: Path, spoken: Session
) -> None:
    began, never = asyncio.Event(), asyncio.Event()

    class Hanging(Folders):
        @asynccontextmanager
        async def find(self, *what: object) -> AsyncIterator[None]:
            began.set()
            await never.wait()
            yield None

    connection = Connection(podman_socket)
    before = spoken.podman.run("ps", "--all", "--format", "{{.Names}}")
    in_use: set[str] = set()  # which a sweep leaves alone
    hanging = Conversations(podman, Hanging(connection), INSTALLATION, given_nothing, in_use)
    reading = asyncio.create_task(read(hanging, spoken))
    await asyncio.wait_for(began.wait(), LIMIT)
    assert naming.reader("") in spoken.podman.run("ps", "--all", "--format", "{{.Names}}")
    assert in_use <= set(spoken.podman.run("ps", "--all", "--format", "{{.Names}}").split())
    assert len(in_use) == 1
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert in_use == set()
    assert spoken.podman.run("ps", "--all", "--format", "{{.Names}}") == before
    await connection.close()


async def test_without_its_image_it_says_what_brings_it_back(reader: Conversations, spoken: Session) -> None:
    with pytest.raises(PodmanError, match="its next run brings it back"):
        await read(reader, spoken, "0" * 64)


# --- what is missing ---


async def test_a_session_that_has_nothing_here(
    reader: Conversations, isolated_podman: IsolatedPodman, busybox_only_image: str
) -> None:
    assert await read(reader, Session(isolated_podman, busybox_only_image)) is None


async def test_nothing_was_said_yet(reader: Conversations, session: Session) -> None:
    assert await read(reader, session) is None
    session.has(f"mkdir -p {PROJECTS}/-work; echo x > {PROJECTS}/-work/{uuid.uuid4()}.jsonl")
    assert await read(reader, session) is None


@pytest.mark.parametrize("container", [False, True])
async def test_what_is_another_installation_s_is_not_read(
    reader: Conversations, isolated_podman: IsolatedPodman, busybox_only_image: str, container: bool
) -> None:
    other = Session(isolated_podman, busybox_only_image, installation=str(uuid.uuid4())).with_volume()
    try:
        other.has(writes(other, "secret"))
        if container:
            other.with_container("true")
        assert await read(reader, other) is None
    finally:
        other.remove()


# --- what an agent may have left ---


async def test_it_is_found_among_others_whatever_its_folder_is_called(reader: Conversations, session: Session) -> None:
    folder = "-" + "long-" * 45
    session.has(
        f"mkdir -p {PROJECTS}/-a/b; echo x > {PROJECTS}/-a/b/{session.id}.jsonl; {writes(session, 'y', folder)}"
    )
    assert await said(reader, session) == ["y"]


@pytest.mark.parametrize(
    "script",
    [
        "mkdir -p {projects}/-w; ln -s /etc/passwd {projects}/-w/{id}.jsonl",
        "mkdir -p {projects}/-w; ln -s /proc/self/environ {projects}/-w/{id}.jsonl",
        "mkdir -p {projects}/-w/{id}.jsonl",
        "mkdir -p {config}; ln -s / {projects}",
        "mkdir -p {config}; ln -s {projects} {projects}",
        "mkdir -p {config}; echo x > {projects}",
    ],
)
async def test_what_is_no_file_is_no_conversation(reader: Conversations, session: Session, script: str) -> None:
    session.has(script.format(projects=PROJECTS, config=naming.CONFIG_DIR, id=session.id))
    assert await read(reader, session) is None


@pytest.mark.parametrize("target", ["/proc", "/", "/tmp/x"])
async def test_no_link_leads_out_of_the_volume(reader: Conversations, session: Session, target: str) -> None:
    session.has(f"mkdir -p {naming.CONFIG_DIR}; ln -s {target} {PROJECTS}")
    script = f"mkdir -p /tmp/x/-w; echo '{line('x')}' > /tmp/x/-w/{session.id}.jsonl; exec sleep 100"
    session.with_container("sh", "-c", script)
    session.podman.run("start", naming.agent(session.uid).name)
    assert await read(reader, session) is None


@pytest.mark.parametrize("running", [False, True])
async def test_a_pipe_in_the_container_s_root_does_not_hold_it_up(
    reader: Conversations, session: Session, running: bool
) -> None:
    """Asked for a file of that container, Podman would open the pipe and block, holding the container's lock."""
    session.has(writes(session, "x"))
    session.with_container("sh", "-c", f"rm -f /etc/passwd; mkfifo /etc/passwd; exec sleep {100 if running else 0}")
    session.podman.run("start", naming.agent(session.uid).name)
    if not running:
        session.podman.run("wait", naming.agent(session.uid).name)
    assert await said(reader, session) == ["x"]


async def test_a_pipe_does_not_hold_it_up(reader: Conversations, session: Session) -> None:
    volume = json.loads(session.podman.run("volume", "inspect", naming.volume(session.uid)))[0]["Mountpoint"]
    session.has(f"{writes(session, 'x', '-w')} ln -s -f /dev/zero {PROJECTS}/-w/zero")
    os.mkfifo(Path(volume) / "claude/projects/-w/a-pipe")
    assert await said(reader, session) == ["x"]


async def test_of_a_record_that_is_too_large_the_end_is_read(reader: Conversations, session: Session) -> None:
    size = conversations.MAX_FILE >> 20
    path = f"{PROJECTS}/-work/{session.id}.jsonl"
    session.has(
        f"{writes(session, 'old')} dd if=/dev/zero of={path} bs=1M seek=1 count=0 2>/dev/null;"
        f"dd if=/dev/zero of={path} bs=1M seek={size} count=1 2>/dev/null;"
        f"echo >> {path}; echo '{line('new')}' >> {path}"
    )
    found = await read(reader, session)
    assert found is not None
    assert ([m.text for m in found.messages], found.truncated) == (["new"], True)


async def test_a_folder_that_is_too_large_is_left(reader: Conversations, session: Session) -> None:
    mib = (conversations.MAX_FOLDER >> 20) + 1
    session.has(
        f"mkdir -p {PROJECTS}/-a; dd if=/dev/zero of={PROJECTS}/-a/x bs=1M seek={mib} count=0 2>/dev/null;"
        f"{writes(session, 'y')}"
    )
    with pytest.raises(PodmanError, match="larger than 512 MiB"):
        await read(reader, session)
