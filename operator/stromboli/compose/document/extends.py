"""`extends`: a service takes everything of another one, in its file or in another file, and has the last word.

Another file is parsed, interpolated with the same variables (a `.env` beside it is not read), and its paths count from
its own folder. Only the services that are asked for are looked at; the rest of it means nothing here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from stromboli.compose.document import canonical, merge, paths, tree
from stromboli.compose.document.budget import Budget
from stromboli.compose.document.events import MAX_SIZE
from stromboli.compose.document.interpolation import interpolate
from stromboli.compose.document.node import Node
from stromboli.compose.files import Files
from stromboli.compose.problem import Mark, Path, problem, quoted
from stromboli.errors import ComposeProblem, Unreadable

MOST_FILES = 32
LONGEST_CHAIN = 32


@dataclass(frozen=True, eq=False)
class File:
    """A file's services as they are written, but interpolated. `name` is for messages; `main`: of the stack itself."""

    name: str
    directory: str | None
    services: Mapping[str, Node]
    main: bool = False
    resolved: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Step:
    """A service on the way from the one that is wanted to what it extends."""

    file: File
    name: str

    def __str__(self) -> str:
        name = quoted(self.name)
        return name if self.file.main else f"{name} of {quoted(self.file.name, 200)}"


class Extends:
    """Resolves `extends` in the files of one stack. `warnings` are those of the other files' interpolation."""

    def __init__(self, files: Files, variables: Mapping[str, str], budget: Budget, directory: str | None) -> None:
        self._files, self._variables, self._budget, self._directory = files, variables, budget, directory
        self._known: dict[str, File] = {}
        self.warnings: list[str] = []

    def service(self, file: File, name: str) -> Node:
        """A service of one of the stack's own files: canonical, complete, its paths absolute. Raises ComposeProblem."""
        return self._service(_Step(file, name), ("services", name), ())

    def _service(self, step: _Step, at: Path, chain: tuple[_Step, ...]) -> Node:
        """`at` is the path of the service that is wanted: of `step` itself, if that is in a file of the stack."""
        file, name = step.file, step.name
        if (known := file.resolved.get(name)) is not None:
            return known
        own = paths.service(canonical.service(file.services[name], at), at, file.directory)
        self._budget.spend(own, at)
        value = own.value
        extends = value.get("extends") if isinstance(value, dict) else None
        if extends is not None and isinstance(value, dict):
            own = Node({key: child for key, child in value.items() if key != "extends"}, own.mark)
            if extends.value is not None:
                base = self._base(extends, step, (*at, "extends"), (*chain, step))
                if base.value is not None:
                    own = merge.service(base, own, at)
                    self._budget.spend(own, at)
        file.resolved[name] = own
        return own

    def _base(self, extends: Node, step: _Step, at: Path, chain: tuple[_Step, ...]) -> Node:
        """The service that is extended. `at` is the path of `extends` of the service that is wanted."""
        wanted, named = _parts(extends, at)
        file = step.file if named is None else self._file(named, step.file, (*at, "file"), chain)
        name = wanted.value
        if not isinstance(name, str) or name not in file.services:
            what = f'names a service that is not there: "{quoted(str(name))}" in {quoted(file.name, 200)}'
            raise problem((*at, "service"), what + _along(chain), wanted.mark)
        base = _Step(file, name)
        if base in chain:
            what = f"is a cycle: {' → '.join(str(each) for each in (*chain, base))}"
            first = ("services", chain[0].name, "extends")
            raise problem(first if file.main else (*at, "file") if named else at, what, extends.mark)
        if len(chain) >= LONGEST_CHAIN:
            raise problem(at, f"is a chain of more than {LONGEST_CHAIN} services", extends.mark)
        return self._service(base, ("services", name) if file.main else at[:-1], chain)

    def _file(self, named: Node, near: File, at: Path, chain: tuple[_Step, ...]) -> File:
        path = paths.absolute(named, at, near.directory).value
        if not isinstance(path, str):
            raise problem(at, "must be the path of a file", named.mark)
        if (known := self._known.get(path)) is not None:
            return known
        if len(self._known) >= MOST_FILES:
            raise problem(at, f"is one file too many: services can be extended from {MOST_FILES} files", named.mark)
        self._known[path] = file = self._read(path, self._shown(path), at, named.mark, chain)
        return file

    def _read(self, path: str, name: str, at: Path, mark: Mark, chain: tuple[_Step, ...]) -> File:
        try:
            data = self._files.read(path, MAX_SIZE)
        except Unreadable as e:
            what = f"the file {quoted(name, 200)} {e}{_along(chain)}"
            raise problem(at, what, mark, permitted=e.permitted) from None
        if (too_many := self._budget.fits(data)) is not None:
            raise problem(at, f"the file {quoted(name, 200)} {too_many}{_along(chain)}", mark)
        try:
            root, warnings = interpolate(tree.parse(data, name), self._variables)
        except ComposeProblem as e:
            raise problem(at, f"the file {quoted(name, 200)} cannot be used{_along(chain)}: {e}", mark) from None
        self.warnings += warnings
        services = root.value.get("services") if isinstance(root.value, dict) else None
        if services is None or not isinstance(services.value, dict):
            raise problem(at, f"the file {quoted(name, 200)} has no services{_along(chain)}", mark)
        return File(name, posixpath.dirname(path), services.value)

    def _shown(self, path: str) -> str:
        """A file's name in messages: as seen from the project's folder, if it is in there."""
        inside = f"{(self._directory or '').rstrip('/')}/"
        return path.removeprefix(inside) if self._directory is not None else path


def _parts(extends: Node, at: Path) -> tuple[Node, Node | None]:
    value = extends.value
    if not isinstance(value, dict):
        raise problem(at, "must be a service's name, or a mapping with service and file", extends.mark)
    for key, child in value.items():
        if key not in ("service", "file") and not key.startswith("x-"):
            raise problem((*at, key), "is unknown; extends has service and file", child.mark)
    service, file = value.get("service"), value.get("file")
    if service is None or not isinstance(service.value, str):
        raise problem((*at, "service"), "must be the name of the service that is extended", extends.mark)
    return service, None if file is None or file.value is None else file


def _along(chain: tuple[_Step, ...]) -> str:
    """Who asks for it, if that is not the service of which the message is."""
    return f" (on the way from {' → '.join(str(each) for each in chain)})" if len(chain) > 1 else ""
