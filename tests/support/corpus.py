"""Corpora of compose files, each file with what is expected of it in the comments at its beginning.

`compose/hostile/` and `compose/ordinary/` beside this module are ours; compose/README.md has the format. Other folders
of the same shape can be named in STROMBOLI_COMPOSE_CORPORA.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = Path(__file__).parent / "compose"
VARIABLE = "STROMBOLI_COMPOSE_CORPORA"
GIVEN = OURS / "given.txt"
"""What is typed of the files of other corpora: `FILE: PATH = JSON` each."""

_HEADER = re.compile(r"# ([a-z]+): (.*)")
_SETTING = re.compile(r"\b(allow[A-Z][A-Za-z]+|capabilities|maxServices|memory|images\.allowed) (\[[^]]*\]|[\w.]+)")


@dataclass(frozen=True)
class Expected:
    """What a key of the typed stack is: a path of attributes, keys and indices, and its value as JSON."""

    path: str
    value: Any


@dataclass(frozen=True)
class Case:
    """One file.

    `refused` is the key that the refusal names (`line 4` if only a line can be named), None if the file is accepted.
    With `optional`, it may be accepted as well. `runs` is a shell command that succeeds in the agent's service once the
    stack is up; None if the file is not for that.
    """

    name: str
    file: Path
    refused: str | None
    optional: bool
    service: str | None
    environment: Mapping[str, str]
    profiles: tuple[str, ...]
    policy: Mapping[str, str]
    typed: tuple[Expected, ...]
    links: tuple[tuple[str, str], ...]
    dotenv: str | None
    base: str | None
    place: str
    runs: str | None

    def laid_out(self, root: Path) -> list[Path]:
        """A copy of the file, and of the corpus's folders, in `root`/allowed; the case's files there, in order."""
        folder = root / "allowed"
        folder.mkdir()
        shutil.copy(self.file, folder)
        for beside in _folders(self.file.parent):
            shutil.copytree(beside, folder / beside.name, symlinks=True)
        for copied in folder.rglob("*"):
            copied.chmod(0o755 if copied.is_dir() else 0o644)
        folder.chmod(0o755)
        for target, link in self.links:
            (folder / link).symlink_to(target)
        if self.dotenv is not None:
            shutil.copyfile(folder / self.dotenv, folder / ".env")
        file = folder / self.place / self.file.name
        if self.place:
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / self.file.name, file)
        return [file] if self.base is None else [folder / self.base, file]


@functools.cache
def _folders(corpus: Path) -> tuple[Path, ...]:
    """The folders beside a corpus's files, of which there are hundreds: they are looked through once."""
    return tuple(filter(Path.is_dir, corpus.iterdir()))


def cases(kind: str) -> list[Case]:
    """The cases of all corpora of a kind, `hostile` or `ordinary`."""
    return [case for corpus in _corpora() for case in _cases(corpus / kind, hostile=kind == "hostile")]


def _corpora() -> Iterator[Path]:
    yield OURS
    yield from (Path(each) for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each)


def _cases(folder: Path, *, hostile: bool) -> Iterator[Case]:
    for file in sorted(folder.glob("*.y*ml")):
        if file.is_file():
            yield _case(file, hostile=hostile)


def _case(file: Path, *, hostile: bool) -> Case:
    header = _header(file)
    run = " ".join(header.get("run", []) + header.get("policy", []) + header.get("with", []))
    expected = " ".join(header.get("expect", [""]))
    optional = re.search(r"\brefuse (\S+)", " ".join(header.get("optional", [])))
    refused = expected.removeprefix("refuse ") if hostile and expected.startswith("refuse ") else None
    named = re.search(r"\bservice ([A-Za-z0-9_.-]+)", run)
    service = header["service"][0] if "service" in header else named[1] if named else "app" if hostile else None
    return Case(
        name=f"{file.parent.name}/{file.name}",
        file=file,
        refused=optional[1] if optional else refused,
        optional=optional is not None,
        service=service,
        environment=dict(each.split("=", 1) for line in header.get("env", []) for each in line.split(", ")),
        profiles=tuple(each for line in header.get("profiles", []) for each in re.split(r"[ ,]+", line)),
        policy=dict(_SETTING.findall(run)),
        typed=tuple(_expected(line) for line in header.get("typed", []) + _given().get(file.name, [])),
        links=tuple(re.findall(r"ln -s (\S+) ([^\s,;]+)", run)),
        dotenv=found[1] if (found := re.search(r"\.env \(copy of ([^)]+)\)", run)) else None,
        base=next((line.split()[0].rstrip(",;") for line in header.get("base", [])), None),
        place=next((line.split()[0].rstrip("/,;") for line in header.get("place", [])), ""),
        runs=next(iter(header.get("runs", [])), None),
    )


def _header(file: Path) -> dict[str, list[str]]:
    """The comments at the beginning, by key; each key may come several times."""
    found: dict[str, list[str]] = {}
    for line in file.read_bytes().decode("utf-8-sig", "replace").splitlines():
        if match := _HEADER.fullmatch(line):
            found.setdefault(match[1], []).append(match[2].strip())
        elif not line.startswith("#"):
            break
    return found


@functools.cache
def _given() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in GIVEN.read_text(encoding="utf-8").splitlines():
        file, _, expected = line.partition(": ")
        found.setdefault(file, []).append(expected)
    return found


def _expected(line: str) -> Expected:
    path, _, value = line.partition(" = ")
    return Expected(path, json.loads(value))


def value(whole: object, path: str) -> object:
    """The value at a path such as `services.db.environment["A.B"]`, in terms of JSON."""
    here = whole
    for name, bracket in re.findall(r'\.?([A-Za-z_0-9-]+)|\[("(?:[^"\\]|\\.)*"|[0-9]+)\]', path):
        part = name or ast.literal_eval(bracket)
        here = here[part] if isinstance(here, Mapping | tuple) else getattr(here, part)
    return _json(here)


def _json(found: object) -> object:
    match found:
        case tuple():
            return [_json(each) for each in found]
        case frozenset():
            return sorted(map(str, found))
        case Mapping():
            return {key: _json(each) for key, each in found.items()}
    return found
