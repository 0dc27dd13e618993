"""Compose files for tests: from text to a stack, without a node."""

from __future__ import annotations

from collections.abc import Mapping

from stromboli.compose.document.load import Document, Source, load
from stromboli.compose.selection import Selected, select
from stromboli.compose.stack import Service, Stack
from stromboli.compose.typed.read import typed
from stromboli.errors import ComposeProblem, Unreadable

FOLDER = "/srv/project"


class SomeFiles:
    """Files that are there: text by path."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def read(self, path: str, longest: int) -> bytes:
        if path not in self._files:
            raise Unreadable("is not there", missing=True)
        return self._files[path].encode()


def document(text: str, variables: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Document:
    """The document of one file, `compose.yaml` in FOLDER."""
    return load([Source("compose.yaml", FOLDER, text.encode())], variables or {}, SomeFiles(files or {}))


def stack(text: str, variables: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Stack:
    return typed(document(text, variables, files), SomeFiles(files or {}))


def service(
    keys: str, variables: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None, /, **top: str
) -> Service:
    """A service `s` with an image and these keys, in flow style: `init: true, tty: yes`."""
    return stack(of(keys, **top), variables, files).services["s"]


def of(keys: str, **top: str) -> str:
    """The file of such a service; `top` are other keys of the top level."""
    rest = "".join(f"{key}: {value}\n" for key, value in top.items())
    return f"services: {{s: {{image: redis, {keys}}}}}\n{rest}"


def problem(keys: str, files: Mapping[str, str] | None = None, /, **top: str) -> tuple[str, str]:
    """The key that a service with these keys is refused by, without `services.s.`, and what is wrong with it."""
    try:
        service(keys, None, files, **top)
    except ComposeProblem as refused:
        return refused.key.removeprefix("services.s").removeprefix("."), refused.what
    raise AssertionError(f"accepted: {keys}")


def selected(text: str, agent: str | None = None, profiles: tuple[str, ...] = ()) -> Selected:
    return select(stack(text), profiles, agent)
