"""A session's folder in the operator's home, and its secrets on tmpfs: everything the operator writes for a container.

    HOME/sessions/UID/                0700
        attempts/RUN-N/plan/          read by the supervisor; either complete or absent
        attempts/RUN-N/out/           written by the supervisor; read by records.py, never written by the operator
        attempts/RUN-N/no-secrets     there if the attempt has ended, and none of its secrets is in its output
        attempts/RUN-N/sealed         the unbroken state of the seals of `out`: see seals.py
        attempt, secret, cli, gateway symlinks that the container's bind mounts go through, replaced by rename
        nothing/                      the target of `gateway` if there is no gateway
        stack/                        there if the session has, or may have, anything of a stack in Podman; in it, a
                                      folder for each of its containers that have done their work
        state                         what the operator knows of a session beyond its runs: see session_state.py
    RUNTIME/secrets/UID/handed        on tmpfs: the secrets for one start; removed once the container has mounted it
    RUNTIME/stacks/UID/               on tmpfs: the secrets of a compose file, as its services mount them
    RUNTIME/given/UID/RUN-N           on tmpfs, never mounted: the secrets to redact from the attempt's output; removed
                                      with the attempt's folder, or once it has `no-secrets`

Other users cannot reach any of it (0700), but containers can: a bind mount does not check the folders above its source.
Calls block briefly; `remove` may take longer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from stromboli import naming
from stromboli.attempt import busybox, given, outputs, places, seals, session_state, supervisor
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.seals import Owner
from stromboli.attempt.session_state import SessionState
from stromboli.errors import NoSpace
from stromboli.plan.attempt import MANAGED_FOLDER
from stromboli.plan.masking import Masks
from stromboli.plan.redaction import KEYS, Secrets

Link = Literal["attempt", "secret", "cli", "gateway"]

ROOM = 16 * 1024 * 1024  # bytes: enough for an attempt's output and records, with a margin
_NO_SECRETS = "no-secrets"
_ATTEMPT = re.compile(r"(.+)-([0-9]{1,6})")  # the format of naming.attempt


class SessionFolder:
    """The files of one session on this node. `uid` is that of the AgentSession, or of the only run."""

    def __init__(self, home: Path, runtime_dir: Path, uid: str) -> None:
        self._home = home
        self._runtime_dir = runtime_dir
        self._path = _sessions(home) / places.checked(uid)
        self._secrets = _secrets(runtime_dir) / uid
        self._handed = self._secrets / "handed"
        self._given = _given(runtime_dir) / uid
        self._stack = self._path / "stack"
        self._stack_secrets = runtime_dir / "stacks" / uid

    @property
    def path(self) -> Path:
        return self._path

    @property
    def secrets(self) -> Path:
        """The folder on tmpfs; it may not exist."""
        return self._secrets

    def attempt(self, run_uid: str, number: int) -> Path:
        """The folder of one attempt; it may not exist."""
        return self._path / "attempts" / places.checked(naming.attempt(run_uid, number))

    def link(self, name: Link) -> Path:
        """The path of a link; it may not exist."""
        return self._path / name

    def prepare_attempt(self, run_uid: str, number: int, files: Mapping[str, bytes], owner: Owner | None) -> Path:
        """Ensure the attempt's `plan/` (`files`, busybox and the supervisor) and an `out/` that belongs to `owner`.

        Idempotent; an attempt that was started is left unchanged. The seals are synced to disk, so that they survive
        a crash; the plan's contents are not, since nothing is restarted after one. Raises NoSpace.
        """
        folder = self.attempt(run_uid, number)
        with places.watching_space(self._path):
            if not seals.is_untouched(folder):
                return folder
            self._make_session()
            places.make_durable(folder.parent)
            places.make_durable(folder)
            seals.make(folder, owner)
            own = {"seals": seals.for_supervisor(folder), "supervisor": supervisor.script().encode()}
            self._write_plan(folder, {**files, **own})
        return folder

    def write_secrets(
        self, env: Iterable[bytes], credentials: bytes | None, owner: Owner | None, files: Iterable[bytes] = ()
    ) -> None:
        """Write this attempt's secrets, replacing any earlier ones, and point the link `secret` at them.

        `env` are the values of its variables, and `files` the contents of its secret files, in order. Raises NoSpace,
        or LocalFailure if another user could read them.
        """
        with places.watching_space(self._runtime_dir):
            places.make_private(self._runtime_dir)
            places.make_private(self._secrets.parent)
            remove_tree(self._secrets)
            self._secrets.mkdir(mode=0o700)
            values = b"".join(value.partition(b"\0")[0] + b"\0" for value in env)
            sized = b"".join(b"%d\0%b" % (len(content), content) for content in files)
            places.write(self._handed, values + sized + (credentials or b""), 0o400, owner)
        self.point("secret", self._handed)

    def take_back(self) -> None:
        """Delete the secrets file after the start: the container keeps its mount of it."""
        self._handed.unlink(missing_ok=True)

    def write_given(self, attempt: str, secrets: Secrets) -> None:
        """Record the secrets that an attempt is given. Raises NoSpace, LocalFailure.

        Secrets recorded earlier for the same attempt are kept: an interrupted start may have succeeded with them.
        """
        with places.watching_space(self._runtime_dir):
            places.make_private(self._runtime_dir)
            places.make_private(self._given.parent)
            given.by_attempt(self._given)
            places.make_private(self._given)
            before = given.read(self._given, attempt).values
            given.write(self._given, attempt, Secrets({*before, *secrets.values}))

    def given_before(self, attempt: str) -> Secrets:
        """What the session's other attempts were given, as far as it is still known: the conversation may have it."""
        return Secrets(given.others(self._given, attempt))

    def inherit_given(self, parent: SessionFolder) -> None:
        """This session begins as a copy of another one, with its conversation. Raises NoSpace, LocalFailure."""
        self.write_given(given.INHERITED, parent.given_before(""))

    def read_given(self, attempt: str) -> Secrets:
        """The secrets that an attempt was given, as far as its output may have any; known until the node restarts."""
        found = given.read(self._given, attempt)
        if not found.known and os.path.lexists(self._path / "attempts" / attempt / _NO_SECRETS):
            return KEYS
        return found

    def settle_given(self, attempt: str) -> None:
        """The attempt has ended: if its output has none of its secrets, note that, which a restart of the node does
        not change, and forget them. Idempotent. Raises OSError.
        """
        place = self._path / "attempts" / places.checked(attempt)
        secrets = given.read(self._given, attempt)
        if not secrets.known or not place.is_dir():
            return
        if not os.path.lexists(place / _NO_SECRETS):
            if not outputs.are_free_of(place / "out", Masks(secrets)):
                return
            places.write(place / _NO_SECRETS, b"", 0o600, None)
        self.forget_given(attempt)

    def forget_given(self, attempt: str) -> None:
        """Forget the secrets of an attempt. Idempotent."""
        given.by_attempt(self._given)
        (self._given / places.checked(attempt)).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is gone, or those of other attempts are there
            self._given.rmdir()

    def point(self, name: Link, target: Path) -> None:
        """Point a link at `target`, atomically replacing any earlier target. Raises NoSpace."""
        with places.watching_space(self._path):
            self._make_session()
            new = self._path / f".{name}.new"
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(self.link(name))

    def unlink(self, name: Link) -> None:
        """Remove a link: a container that mounts its target can no longer be started. Idempotent."""
        self.link(name).unlink(missing_ok=True)

    def nothing(self) -> Path:
        """Ensure the empty folder `nothing`; returns its path. Raises NoSpace."""
        with places.watching_space(self._path):
            self._make_session()
            places.make_durable(self._path / "nothing")
        return self._path / "nothing"

    @property
    def has_stack(self) -> bool:
        """Whether the session may have something of a stack in Podman."""
        return self._stack.is_dir()

    def note_stack(self) -> None:
        """From now on the session may have something of a stack; known after a crash, too. Raises NoSpace."""
        with places.watching_space(self._path):
            self._make_session()
            places.make_durable(self._stack)

    def completed(self) -> frozenset[str]:
        """The ids of the stack's containers that have done their work, and are not to run again."""
        return frozenset(places.names(self._stack))

    def note_completed(self, container: str) -> None:
        """A container of the stack has done its work. Raises NoSpace."""
        with places.watching_space(self._path):
            if self.has_stack:  # otherwise the session was deleted
                places.make_durable(self._stack / places.checked(container))

    def write_stack_secret(self, name: str, content: bytes, mode: int, owner: Owner | None) -> Path:
        """A file that a service mounts, with this mode and owner. If it differs, the file itself is changed, and not
        replaced by another one, which a container that has it mounted would not see. Raises NoSpace, LocalFailure.
        """
        with places.watching_space(self._runtime_dir):
            places.make_private(self._runtime_dir)
            places.make_private(self._stack_secrets.parent)
            places.make_private(self._stack_secrets)
            path = self._stack_secrets / places.checked(name)
            if not places.is_such(path, content, mode, owner) and not places.rewritten(path, content, mode, owner):
                new = path.with_name(f".{name}.new")
                new.unlink(missing_ok=True)
                places.write(new, content, mode, owner)
                new.replace(path)
        return path

    def remove_stack(self) -> None:
        """Its stack is gone from Podman: remove what it has on tmpfs, and that it has one. Idempotent."""
        remove_tree(self._stack_secrets)
        self.forget_given(given.SERVICES)
        remove_tree(self._stack)

    def handed_to(self) -> str | None:
        """The name of the attempt that the link `attempt` points at: the last one whose start was begun."""
        try:
            return self.link("attempt").readlink().name
        except OSError:
            return None

    def attempts_of(self, run_uid: str) -> list[Path]:
        """The folders of a run's attempts, oldest first."""
        numbers = sorted(int(match[2]) for match in _attempts(self._path) if match[1] == run_uid)
        return [self.attempt(run_uid, number) for number in numbers]

    def read_state(self) -> SessionState:
        """The session's state; empty if there is no state file. Raises LocalFailure if the file is broken."""
        return session_state.read(self._path / "state")

    def write_state(self, state: SessionState) -> None:
        """Write the state; it is synced to disk when this returns. Raises NoSpace."""
        with places.watching_space(self._path):
            self._make_session()
            session_state.write(self._path / "state", state)

    def remove_secrets(self) -> None:
        """Remove the secrets for the next start. Idempotent."""
        remove_tree(self._secrets)

    def remove(self) -> None:
        """Remove everything. Idempotent. Raises OSError for what cannot be removed."""
        self.remove_secrets()
        self.remove_stack()
        remove_tree(self._given)
        remove_tree(self._path)

    def _make_session(self) -> None:
        places.make_durable(self._path.parent)
        places.make_durable(self._path)

    def _write_plan(self, folder: Path, files: Mapping[str, bytes]) -> None:
        plan, new, old = folder / "plan", folder / "plan.new", folder / "plan.old"
        if _holds(plan, files):
            return
        remove_tree(new)
        new.mkdir()
        new.chmod(0o755)
        for name, content in files.items():
            _make_readable((new / name).parent, new)
            places.write(new / name, content, 0o644, None)
        _make_readable(new / MANAGED_FOLDER, new)
        _link_or_copy(busybox.path(self._home), new / "busybox")
        if plan.exists():
            remove_tree(old)
            plan.rename(old)
        new.rename(plan)
        remove_tree(old)


def require_room(home: Path) -> None:
    """Raises NoSpace if the disk has too little room for an attempt's records; call it before an attempt begins."""
    found = os.statvfs(home)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if free < min(ROOM, whole // 10):
        raise NoSpace(f"the file system of {home} is full: {free // 1024} KiB are left; make room there")


def private_runtime(runtime_dir: Path, installation: str) -> Path:
    """Ensure an installation's own folder on tmpfs: one user may have several installations. Raises LocalFailure."""
    places.make_private(runtime_dir)
    places.make_private(runtime_dir / installation)
    return runtime_dir / installation


def sessions(home: Path) -> set[str]:
    """UIDs of the sessions that have a folder."""
    return places.names(_sessions(home))


def sessions_of(home: Path, run_uid: str) -> set[str]:
    """UIDs of the sessions in which this run has attempts."""
    return {uid for uid in sessions(home) if any(m[1] == run_uid for m in _attempts(_sessions(home) / uid))}


def runs(home: Path) -> set[str]:
    """UIDs of the runs that have attempts in any session."""
    return {match[1] for uid in sessions(home) for match in _attempts(_sessions(home) / uid)}


def with_secrets(runtime_dir: Path) -> set[str]:
    """UIDs of the sessions that have secrets for a start on tmpfs."""
    return places.names(_secrets(runtime_dir))


def with_given(runtime_dir: Path) -> set[str]:
    """UIDs of the sessions of which secrets of an attempt are known."""
    return places.names(_given(runtime_dir))


def _sessions(home: Path) -> Path:
    return home / "sessions"


def _secrets(runtime_dir: Path) -> Path:
    return runtime_dir / "secrets"


def _given(runtime_dir: Path) -> Path:
    return runtime_dir / "given"


def _attempts(session: Path) -> Iterator[re.Match[str]]:
    """The names of a session's attempts, each matched as (run's uid, number)."""
    for name in places.names(session / "attempts"):
        if match := _ATTEMPT.fullmatch(name):
            yield match


def _holds(plan: Path, files: Mapping[str, bytes]) -> bool:
    """Whether the plan exists and has exactly these files and a busybox."""
    there = {str(entry.relative_to(plan)) for entry in plan.rglob("*") if not entry.is_dir()}
    return there == {*files, "busybox"} and all((plan / n).read_bytes() == c for n, c in files.items())


def _make_readable(folder: Path, above: Path) -> None:
    """Ensure a world-readable folder below `above`, whatever the umask."""
    for made in reversed([folder, *folder.parents][: len(folder.relative_to(above).parts)]):
        made.mkdir(exist_ok=True)
        made.chmod(0o755)


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard-link if possible: copying two megabytes per attempt would be most of what is written."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        places.write(target, source.read_bytes(), 0o755, None)
