"""A session's folder in the operator's home, and its secrets on tmpfs: all that the operator writes for a container.

    HOME/sessions/UID/                0700
        attempts/RUN-N/plan/          what the supervisor reads; complete or not there
        attempts/RUN-N/out/           what it writes; read by records.py, never written by the operator
        attempts/RUN-N/sealed         what the seals of `out` are unbroken: see seals.py
        attempt, secret, cli, gateway links that the container's binds go through, re-pointed by rename
        nothing/                      what `gateway` leads to where there is none
        state                         what the operator knows of a session that outlives its runs: see state.py
    RUNTIME/secrets/UID/handed        on tmpfs: what one start is given, and gone once the container has it
    RUNTIME/given/UID                 on tmpfs, in no container: what must not be shown of the last attempt's output

Other users reach none of it (0700), containers do: a bind mount does not ask about the folders above its source.
Blocking, though short; `remove` may take longer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from stromboli import naming
from stromboli.attempt import busybox, given, seals, supervisor
from stromboli.attempt import state as states
from stromboli.attempt.removal import remove_tree
from stromboli.attempt.seals import Owner
from stromboli.attempt.state import State
from stromboli.errors import LocalFailure, NoSpace
from stromboli.plan.attempt import MANAGED_FOLDER
from stromboli.plan.redaction import Secrets

Link = Literal["attempt", "secret", "cli", "gateway"]

ROOM = 16 * 1024 * 1024  # bytes: an attempt's output and records, and some more
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_ATTEMPT = re.compile(r"(.+)-([0-9]{1,6})")  # as naming.attempt makes it
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class SessionFolder:
    """What one session has on this node. `uid` is its object's, or its only run's."""

    def __init__(self, home: Path, runtime_dir: Path, uid: str) -> None:
        self._home = home
        self._runtime_dir = runtime_dir
        self._path = _sessions(home) / _checked(uid)
        self._secrets = _secrets(runtime_dir) / uid
        self._handed = self._secrets / "handed"
        self._given = _given(runtime_dir) / uid

    @property
    def path(self) -> Path:
        return self._path

    @property
    def secrets(self) -> Path:
        """The folder on tmpfs, there or not."""
        return self._secrets

    def attempt(self, run_uid: str, number: int) -> Path:
        """The folder of one attempt, there or not."""
        return self._path / "attempts" / _checked(naming.attempt(run_uid, number))

    def link(self, name: Link) -> Path:
        """The path of a link, there or not."""
        return self._path / name

    def prepare_attempt(self, run_uid: str, number: int, files: Mapping[str, bytes], owner: Owner | None) -> Path:
        """Have the attempt's `plan/` (`files`, busybox and the supervisor) and an `out/` that `owner` may write.

        May be repeated; an attempt that was started is left as it is. The seals are on disk afterwards, so that
        they outlive a crash; the plan's contents need not, for nothing is started again after one.
        Raises NoSpace.
        """
        folder = self.attempt(run_uid, number)
        with _watching_space(self._path):
            if not seals.is_untouched(folder):
                return folder
            self._make_session()
            _make_durable(folder.parent)
            _make_durable(folder)
            seals.make(folder, owner)
            own = {"seals": seals.for_supervisor(folder), "supervisor": supervisor.script().encode()}
            self._write_plan(folder, {**files, **own})
        return folder

    def write_secrets(self, env: Iterable[bytes], credentials: bytes | None, owner: Owner | None) -> None:
        """Write this attempt's secrets, in place of any before, and point the link `secret` at them.

        `env` are the values of its variables, in their order. Raises NoSpace, or LocalFailure where somebody else
        could get at them.
        """
        with _watching_space(self._runtime_dir):
            _make_private(self._runtime_dir)
            _make_private(self._secrets.parent)
            remove_tree(self._secrets)
            self._secrets.mkdir(mode=0o700)
            values = b"".join(value.partition(b"\0")[0] + b"\0" for value in env)
            _write(self._handed, values + (credentials or b""), 0o400, owner)
        self.point("secret", self._handed)

    def take_back(self) -> None:
        """The container has started, and keeps what it mounted: what was handed over is on the node no more."""
        self._handed.unlink(missing_ok=True)

    def write_given(self, attempt: str, secrets: Secrets) -> None:
        """Write down what an attempt is given that must not be shown, in place of what another was. Raises NoSpace,
        LocalFailure.

        What the same attempt was given before counts as well: a start that was cut short may have come through.
        """
        with _watching_space(self._runtime_dir):
            _make_private(self._runtime_dir)
            _make_private(self._given.parent)
            before = given.read(self._given, attempt).values
            given.write(self._given, attempt, Secrets({*before, *secrets.values}))

    def read_given(self, attempt: str) -> Secrets:
        """What an attempt was given: known until its secrets are removed, or the node restarts."""
        return given.read(self._given, attempt)

    def point(self, name: Link, target: Path) -> None:
        """Make a link point at `target`, in one step, also if it pointed elsewhere. Raises NoSpace."""
        with _watching_space(self._path):
            self._make_session()
            new = self._path / f".{name}.new"
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(self.link(name))

    def nothing(self) -> Path:
        """An empty folder. Raises NoSpace."""
        with _watching_space(self._path):
            self._make_session()
            _make_durable(self._path / "nothing")
        return self._path / "nothing"

    def handed_to(self) -> str | None:
        """The name of the attempt that the link leads to: the last whose start was begun."""
        try:
            return self.link("attempt").readlink().name
        except OSError:
            return None

    def attempts_of(self, run_uid: str) -> list[Path]:
        """The folders of a run's attempts, oldest first."""
        numbers = sorted(int(match[2]) for match in _attempts(self._path) if match[1] == run_uid)
        return [self.attempt(run_uid, number) for number in numbers]

    def read_state(self) -> State:
        """What is known of the session; nothing is known of one that has no such file."""
        return states.read(self._path / "state")

    def write_state(self, state: State) -> None:
        """Write it down, on disk once this returns. Raises NoSpace."""
        with _watching_space(self._path):
            self._make_session()
            states.write(self._path / "state", state)

    def remove_secrets(self) -> None:
        """Remove what lies on tmpfs; what is away already is no error."""
        remove_tree(self._secrets)
        self._given.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything; what is away already is no error. Raises OSError for what cannot be removed."""
        self.remove_secrets()
        remove_tree(self._path)

    def _make_session(self) -> None:
        _make_durable(self._path.parent)
        _make_durable(self._path)

    def _write_plan(self, folder: Path, files: Mapping[str, bytes]) -> None:
        plan, new, old = folder / "plan", folder / "plan.new", folder / "plan.old"
        if _holds(plan, files):
            return
        remove_tree(new)
        new.mkdir()
        new.chmod(0o755)
        for name, content in files.items():
            _make_readable((new / name).parent, new)
            _write(new / name, content, 0o644, None)
        _make_readable(new / MANAGED_FOLDER, new)
        _link_or_copy(busybox.path(self._home), new / "busybox")
        if plan.exists():
            remove_tree(old)
            plan.rename(old)
        new.rename(plan)
        remove_tree(old)


def require_room(home: Path) -> None:
    """Raises NoSpace where an attempt could not write down what becomes of it, before anything of it is begun."""
    found = os.statvfs(home)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if free < min(ROOM, whole // 10):
        raise NoSpace(f"the file system of {home} is full: {free // 1024} KiB are left; make room there")


def private_runtime(runtime_dir: Path, installation: str) -> Path:
    """One installation's own folder on tmpfs, which others of the same user have beside it. Raises LocalFailure."""
    _make_private(runtime_dir)
    _make_private(runtime_dir / installation)
    return runtime_dir / installation


def sessions(home: Path) -> set[str]:
    """UIDs of the sessions that have a folder."""
    return _names(_sessions(home))


def sessions_of(home: Path, run_uid: str) -> set[str]:
    """UIDs of the sessions in which a run has attempts."""
    return {uid for uid in sessions(home) if any(m[1] == run_uid for m in _attempts(_sessions(home) / uid))}


def runs(home: Path) -> set[str]:
    """UIDs of the runs that have attempts in some session."""
    return {match[1] for uid in sessions(home) for match in _attempts(_sessions(home) / uid)}


def with_secrets(runtime_dir: Path) -> set[str]:
    """UIDs of the sessions that have secrets on tmpfs."""
    return _names(_secrets(runtime_dir)) | _names(_given(runtime_dir))


def _sessions(home: Path) -> Path:
    return home / "sessions"


def _secrets(runtime_dir: Path) -> Path:
    return runtime_dir / "secrets"


def _given(runtime_dir: Path) -> Path:
    return runtime_dir / "given"


def _attempts(session: Path) -> Iterator[re.Match[str]]:
    """The names of a session's attempts: (run's uid, number) each."""
    for name in _names(session / "attempts"):
        if match := _ATTEMPT.fullmatch(name):
            yield match


def _names(folder: Path) -> set[str]:
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # it may have gone just now
        return set()
    return {name for name in found if _NAME.fullmatch(name)}


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a folder")
    return name


@contextmanager
def _watching_space(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise NoSpace(f"the file system of {path} is full: {error.strerror}; make room there") from error


def _make_durable(folder: Path) -> None:
    """Make a folder of ours, and see that its name is on disk."""
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _make_private(folder: Path) -> None:
    """Make a folder that is ours alone: above it may be one in which anybody can write, such as /dev/shm."""
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise LocalFailure(
            f"{folder} is not a folder of this user's alone, so no secrets are written there",
            f"remove it, or chmod 700 {folder}",
        )


def _write(path: Path, content: bytes, mode: int, owner: Owner | None) -> None:
    """A new file of exactly this mode, whatever the umask."""
    descriptor = os.open(path, _CREATE, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if owner is not None:
            os.fchown(descriptor, *owner)
        os.fchmod(descriptor, mode)


def _holds(plan: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a plan is there with exactly these files and a busybox."""
    there = {str(entry.relative_to(plan)) for entry in plan.rglob("*") if not entry.is_dir()}
    return there == {*files, "busybox"} and all((plan / n).read_bytes() == c for n, c in files.items())


def _make_readable(folder: Path, above: Path) -> None:
    """Have a folder below `above` that anybody may read, whatever the umask."""
    for made in reversed([folder, *folder.parents][: len(folder.relative_to(above).parts)]):
        made.mkdir(exist_ok=True)
        made.chmod(0o755)


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link where one can be: a copy of two megabytes an attempt would be most of what is written."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        _write(target, source.read_bytes(), 0o755, None)
