"""compose/document/paths.py: relative paths count from the folder of their file; what has no meaning is refused."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import ComposeProblem
from tests.support.compose_documents import loaded, plain

PATHS: dict[str, Any] = {
    "volumes: ['.:/w']": ("volumes", 0, "source", "/project"),
    "volumes: ['..:/w']": ("volumes", 0, "source", "/"),
    "volumes: ['../../../etc:/w']": ("volumes", 0, "source", "/etc"),
    "volumes: ['./a//b/../c/:/w']": ("volumes", 0, "source", "/project/a/c"),
    "volumes: ['.hidden:/w']": ("volumes", 0, "source", "/project/.hidden"),
    "volumes: ['/x/./y:/w']": ("volumes", 0, "source", "/x/y"),
    "volumes: ['//x:/w']": ("volumes", 0, "source", "/x"),
    "volumes: ['data:/w']": ("volumes", 0, "source", "data"),
    "volumes: [{type: bind, source: a/../b, target: /w}]": ("volumes", 0, "source", "/project/b"),
    "volumes: [{type: volume, source: a, target: /w}]": ("volumes", 0, "source", "a"),
    "volumes: [{type: bind, source: 5, target: /w}]": ("volumes", 0, "source", 5),
    "env_file: a.env": ("env_file", 0, "path", "/project/a.env"),
    "env_file: [{path: /e/../f, required: false}]": ("env_file", 0, "path", "/f"),
    "build: .": ("build", "context", "/project"),
    "build: sub/": ("build", "context", "/project/sub"),
    "build: {args: [A]}": ("build", "context", "/project"),
    "build: {context: , args: [A]}": ("build", "context", "/project"),
    "build: https://example.test/x.git": ("build", "context", "https://example.test/x.git"),
    "build: git@example.test:x.git": ("build", "context", "git@example.test:x.git"),
    "build: {context: sub, dockerfile: d/Dockerfile}": ("build", "dockerfile", "/project/sub/d/Dockerfile"),
    "build: {context: sub, dockerfile: ../Dockerfile}": ("build", "dockerfile", "/project/Dockerfile"),
    "build: {dockerfile: Dockerfile.dev}": ("build", "dockerfile", "/project/Dockerfile.dev"),
    "build: {context: sub, dockerfile: /d/../e}": ("build", "dockerfile", "/e"),
    "build: {context: 'https://x.test', dockerfile: d}": ("build", "dockerfile", "d"),
    "build: {additional_contexts: [a=../b]}": ("build", "additional_contexts", "a", "/b"),
    "build: {additional_contexts: {a: 'docker-image://b'}}": ("build", "additional_contexts", "a", "docker-image://b"),
    "build: {additional_contexts: {a: 'service:b'}}": ("build", "additional_contexts", "a", "service:b"),
    "labels: [a=./b]": ("labels", "a", "./b"),
}


@pytest.mark.parametrize(("text", "expected"), PATHS.items())
def test_absolute(text: str, expected: tuple[Any, ...]) -> None:
    document = loaded(f"services: {{db: {{{text}}}}}")
    assert plain(document.root.at(("services", "db", *expected[:-1]))) == expected[-1]


def test_secrets() -> None:
    document = loaded("services: {a: {image: x}}\nsecrets: {s: {file: ./x}, t: {file: ../y}, u: {environment: A}}")
    assert plain(document.root.at(("secrets",))) == {
        "s": {"file": "/project/x"},
        "t": {"file": "/y"},
        "u": {"environment": "A"},
    }


BAD = {
    "volumes: ['~/x:/w']": ("volumes[0].source", "begins with ~"),
    "volumes: ['data:/d', '~:/w']": ("volumes[1].source", "begins with ~"),
    "volumes: [{type: bind, source: '', target: /w}]": ("volumes[0].source", "is empty"),
    "volumes: [{type: bind, source: 'C:/x', target: /w}]": ("volumes[0].source", 'a path of Windows, "C:/x"'),
    'volumes: ["./a\\0:/w"]': ("volumes[0].source", "has a NUL character"),
    "env_file: ~/x.env": ("env_file[0].path", "begins with ~"),
    "env_file: ''": ("env_file[0].path", "is empty"),
    "build: ~/x": ("build.context", "begins with ~"),
    "build: {dockerfile: ~/x}": ("build.dockerfile", "begins with ~"),
    f"env_file: {'x' * 5000}": ("env_file[0].path", "is too long"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.items())
def test_bad(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded(f"services: {{db: {{{text}}}}}")
    assert refused.value.key == f"services.db.{expected[0]}"
    assert expected[1] in refused.value.what
    assert refused.value.where == "compose.yaml:1"


NOT_IN_A_FOLDER = {
    "services: {a: {volumes: ['.:/w']}}": "services.a.volumes[0].source",
    "services: {a: {env_file: x.env}}": "services.a.env_file[0].path",
    "services: {a: {build: .}}": "services.a.build.context",
    "services: {a: {extends: {file: x.yaml, service: b}}}": "services.a.extends.file",
    "services: {a: {image: x}}\nsecrets: {s: {file: x}}": "secrets.s.file",
}


@pytest.mark.parametrize(("text", "at"), NOT_IN_A_FOLDER.items())
def test_relative_paths_need_a_folder(text: str, at: str) -> None:
    with pytest.raises(ComposeProblem, match=r"environment\.path") as refused:
        loaded(text, directory=None)
    assert refused.value.key == at


def test_absolute_paths_need_no_folder() -> None:
    document = loaded("services: {a: {volumes: ['/x:/w'], build: {dockerfile_inline: FROM x}}}", directory=None)
    assert plain(document.root.at(("services", "a"))) == {
        "volumes": [{"type": "bind", "source": "/x", "target": "/w"}],
        "build": {"dockerfile_inline": "FROM x"},
    }
