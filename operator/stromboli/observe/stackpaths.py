"""The files and folders of the node that a stack mounts: where links lead, whether policies allow it, which they are.

Only regular files and folders: never a socket, a pipe or a device. Somebody who may write in an allowed folder can
still replace one by a link before Podman mounts it. So what was found is kept as device and inode, and a container runs
only once it has these: see node/mounted.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from stromboli import pathwalk
from stromboli.compose.problem import Mark
from stromboli.compose.stack import Bind, SecretMount, Service
from stromboli.errors import ComposeProblem, NotPermitted, Unanswered, Waiting
from stromboli.observe import hostfiles
from stromboli.observe.allowed import NOT_THERE, Allowed
from stromboli.observe.stackfiles import kind, outside
from stromboli.pathwalk import Place, Touching
from stromboli.plan import volumes
from stromboli.plan.policy import Effective, VolumeList
from stromboli.plan.stack.sources import Source
from stromboli.reasons import Reason

MOST = 2_000  # binds and secrets of a stack


async def resolve(services: Iterable[Service], policy: Effective) -> Mapping[str, Source]:
    """The sources of all binds and secrets, by their keys (`at`). Raises ComposeProblem, NotPermitted, Waiting."""
    try:
        return await hostfiles.in_time(resolved, tuple(services), policy.volumes)
    except Unanswered as problem:
        raise Waiting(Reason.WaitingForReference, f"spec.environment: {problem}", 10.0) from problem


def resolved(services: Iterable[Service], lists: Iterable[VolumeList]) -> dict[str, Source]:
    """`resolve`, blocking. Raises Unanswered if the source, or a folder that may allow it, does not respond."""
    given = [(mount, service) for service in services for mount in _mounts(service)]
    if not given:
        return {}
    if len(given) > MOST:
        mount, service = given[MOST]
        mark = service.keys.get(mount.at)
        what = f"is one too many: a stack may mount {MOST} files and folders of the node"
        raise ComposeProblem(mount.at, what, str(mark) if mark is not None else "")
    allowed, touching = Allowed.of(tuple(lists)), hostfiles.toucher()
    return {mount.at: _Look(mount, service.keys.get(mount.at), allowed, touching).found() for mount, service in given}


def _mounts(service: Service) -> Iterator[Bind | SecretMount]:
    yield from (mount for mount in service.mounts if isinstance(mount, Bind))
    yield from service.secrets


class _Look:
    """A look at one source."""

    def __init__(self, mount: Bind | SecretMount, mark: Mark | None, allowed: Allowed, touching: Touching) -> None:
        self._mount, self._mark = mount, mark
        self._allowed, self._touching = allowed, touching
        self._read_only = mount.read_only if isinstance(mount, Bind) else True

    def found(self) -> Source:
        try:
            with pathwalk.walked(self._mount.source, touching=self._touching) as place:
                return self._there(place)
        except FileNotFoundError as error:
            return self._missing(error)
        except OSError as error:
            self._check(volumes.normal(error.filename))
            if error.errno in NOT_THERE:
                raise self._problem(f"cannot be mounted ({error.strerror})") from error
            said = f"{self._mount.source} cannot be accessed ({error.strerror}); the run continues when it can"
            raise Waiting(Reason.WaitingForReference, said, 10.0) from error
        except ValueError as error:  # a NUL, or what is no character
            raise self._problem("has a name that no file can have") from error

    def _there(self, place: Place) -> Source:
        self._check(place.path)
        secret = isinstance(self._mount, SecretMount)
        if secret and not place.regular:
            raise self._problem(f"is {kind(place)}, not a regular file")
        if not place.regular and not place.folder:
            raise self._problem(f"is {kind(place)}; only files and folders can be mounted")
        identity = (place.info.st_dev, place.info.st_ino)
        return Source(place.path, place.folder, identity, "")

    def _missing(self, error: FileNotFoundError) -> Source:
        """A folder that Compose would create."""
        way = volumes.normal(error.filename)
        self._check(way)
        if isinstance(self._mount, SecretMount) or not self._mount.create:
            raise self._problem("is not there; create it first")
        if ".." in error.filename.split("/"):  # a link's, which means something only once the rest is there
            raise self._problem("leads through a folder that is not there; create it first")
        if why := volumes.too_long(way):
            raise self._problem(f"cannot be created: {why}")
        if self._allowed.forbidden(way, read_only=False) is not None:
            raise self._problem("is not there, and where only reading is allowed nothing is created; create it first")
        return Source(way, True, None, self._beneath(way))

    def _beneath(self, path: str) -> str:
        """The innermost allowed folder in which the path is; it has to be there itself."""
        folders = [volumes.normal(folder) for rules in self._allowed.lists for folder, _ in rules.folders]
        innermost = max((folder for folder in folders if volumes.within(path, folder)), key=len)
        with self._touching(innermost):
            if not os.path.isdir(innermost):
                raise self._problem(f"is in the allowed folder {innermost}, which is not there; create that first")
        return innermost

    def _check(self, real: str) -> None:
        source = self._mount.source
        if why := outside(source, real, self._allowed, read_only=self._read_only):
            mode = "ro" if self._read_only else "rw"
            raise NotPermitted(self._key, f"{source} ({mode}) {why}", self._where)

    def _problem(self, what: str) -> ComposeProblem:
        return ComposeProblem(self._key, f"{self._mount.source} {what}", self._where)

    @property
    def _key(self) -> str:
        return f"{self._mount.at}.source" if isinstance(self._mount, Bind) else self._mount.at

    @property
    def _where(self) -> str:
        return str(self._mark) if self._mark is not None else ""
