"""Every door by which somebody else's document comes in, each tried in a fork (tests/unit/forks.py).

Each is given documents of growing depth, in a process that has loaded what an operator may load. It has to answer,
or to refuse by an error of our own; a RecursionError or a dead process is neither, nor is a TypeError, which may be
this file's own. A door that calls nothing of bounds.py was not reached.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from pydantic import ValidationError

from stromboli import bounds, settings
from stromboli.attempt import given, session_state
from stromboli.cli.runs import manifest
from stromboli.controlplane import ports, processes
from stromboli.errors import LocalFailure, StromboliError
from stromboli.gateway.trust import front_proxy
from stromboli.handlers.connection import _Cut
from stromboli.handlers.watches import Wakers, take, take_session
from stromboli.httpclient import Response
from stromboli.inspection.cache import FactsCache
from stromboli.kube import kubeconfig, objects, outline
from stromboli.kube.client import Cluster
from stromboli.kube.reads import decoded
from stromboli.observe import policy, references
from stromboli.perform import lookups
from stromboli.perform.history import History
from stromboli.plan import answer, conversation, documents, pull_secrets, redaction, request
from stromboli.plan.compatibility import CLINeeds
from stromboli.plan.container import Shape
from stromboli.podman import failures, images, pulls, search
from stromboli.podman.archive import Archive
from stromboli.podman.events import _event
from stromboli.standin import request as standin
from stromboli.store import Store

LARGE = 100_000
DEPTHS = (100, 1_000, 3_000, 10_000, LARGE, 10 * LARGE)
STORED = DEPTHS[:-2]  # the API server stores nothing deeper
ALL_SHAPES = 1_000
LOADED = (jsonschema.Draft202012Validator, referencing.Registry)
REFUSED = (StromboliError, ValidationError, ValueError)
# What measures or cuts a document. pydantic's own parser, whose bound is fixed, reads at the other two doors.
MEASURES = ("measure_json", "measure_yaml", "check", "cut_json")
READ_BY_PYDANTIC = ("a run that was not cut", "an image's facts")

# Of the CLI's result, besides `result`.
FIELDS = ("subtype", "session_id", "structured_output", "errors", "usage", "num_turns", "total_cost_usd", "x")

NONE = redaction.Secrets(())
Door = Callable[[str], Any]


def _lists(depth: int) -> str:
    return "[" * depth + "]" * depth


def _open(depth: int) -> str:
    return "[" * depth


def _objects(depth: int) -> str:
    return '{"not":' * depth + "{}" + "}" * depth


def _mixed(depth: int) -> str:
    return '[{"allOf":' * (depth // 2) + "[]" + "}]" * (depth // 2)


SHAPES = (_lists, _open, _objects, _mixed)


def _parsed(text: str) -> Any:
    """The value, made without recursion."""
    value: Any = {} if text.startswith("{") else []
    for _ in range(text.count("[") + text.count("{") - 1):
        value = {"not": value} if text.startswith("{") else [value]
    return value


def _result(field: str) -> Door:
    def door(text: str) -> None:
        answer.parse(b'{"type":"result","is_error":false,"' + field.encode() + b'":' + text.encode() + b"}\n", NONE)

    return door


def _spec(field: str, *, inside: Callable[[Any], Any] = lambda value: value) -> Door:
    """A run whose document comes as an object, as far as the API server's answers are cut."""

    def door(text: str) -> None:
        cut = bounds.json_object(text.encode())
        run = objects.run({"spec": {"prompt": "x", "image": "python:3.12", "claude": {field: inside(cut)}}})
        rules = policy.parse(objects.policy({"metadata": {"name": "p"}}))
        request.documents_are_json(lookups.parse(run), rules)  # type: ignore[arg-type]

    return door


def _uncut(text: str) -> None:
    lookups.parse(objects.run({"spec": {"prompt": "x", "claude": {"jsonSchema": _parsed(text)}}}))


def _transcript(text: str) -> None:
    transcript = conversation.Transcript()
    transcript.feed(b'{"type":"user","message":' + text.encode() + b"}\n")
    transcript.finish()


def _template(text: str) -> None:
    policy.parse(objects.policy({"metadata": {"name": "p"}, "spec": bounds.json_object(text.encode())}))


def _file(use: Callable[[Path], Any]) -> Door:
    def door(text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_text(text)
            use(path)

    return door


def _kubeconfig(use: Callable[[Path], Any]) -> Door:
    def door(text: str) -> None:
        def named(path: Path) -> None:
            os.environ["KUBECONFIG"] = str(path)
            use(path)

        _file(named)(text)

    return door


def _facts(text: str) -> None:
    async def look() -> Any:
        raise LocalFailure("not in the cache")

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{'a' * 64}.json").write_text(text)
        asyncio.run(FactsCache(Path(folder)).get("a" * 64, CLINeeds(), look))


def _credentials(path: Path) -> None:
    given = settings.Settings(home=path, runtime_dir=path, podman_socket=path, node="node", credentials_file=path)
    found = asyncio.run(references._from_file(given))
    redaction.given(found.env, found.file)


class _Answering:
    """A connection of Podman's whose every answer is this one, in body and header."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def request(self, method: str, path: str, **_: Any) -> Response:
        stat = base64.b64encode(self._text.encode()).decode()
        return Response(200, {"X-Docker-Container-Path-Stat": stat}, self._text.encode())


def _archive(text: str) -> None:
    asyncio.run(Archive(_Answering(text)).stat("c", "/x"))  # type: ignore[arg-type]


def _inspect(text: str) -> None:
    asyncio.run(images.Images(_Answering(text)).inspect("x"))  # type: ignore[arg-type]


def _pull(text: str) -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield text.encode()

    asyncio.run(pulls.follow("x", lines(), lambda _: None))


def _object(text: str) -> bytes:
    meta = f'{{"uid":"u","name":"n","namespace":"s","resourceVersion":"1","managedFields":[{{"fieldsV1":{text}}}]}}'
    spec = f'{{"prompt":"x","claude":{{"jsonSchema":{text}}}}}'
    return f'{{"metadata":{meta},"spec":{spec},"status":{{"conditions":[],"x":{text}}}}}'.encode()


def _front_proxy(text: str) -> None:
    front_proxy({"requestheader-allowed-names": text.encode()})


def _kopf(text: str) -> None:
    """A line of a watch, in chunks that end anywhere; the lines around it arrive."""
    line = b'{"type":"ADDED","object":' + _object(text) + b"}\n"
    stream = line + line

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(stream), 65_521):
            yield stream[start : start + 65_521]

    async def watch() -> None:
        whole = b"".join([piece async for piece in _Cut(chunks())])
        events = [json.loads(line) for line in whole.split(b"\n") if line]
        assert len(events) == 2
        _seen(events[0]["object"])

    asyncio.run(watch())


def _plain(text: str) -> None:
    """An object and a list with it, as kube/client.py reads them."""
    body = _object(text)
    for decode in (outline.of, outline.small, outline.whole):
        _seen(decoded(decode, body))
    listed = b'{"metadata":{},"items":[' + body + b"]}"
    for decode_page in (outline.page, outline.page_whole):
        [found] = decoded(decode_page, listed).items
        _seen(found)


def _seen(obj: dict[str, Any]) -> None:
    """What the operator does with any object."""

    async def ending() -> None:
        return

    store, run = Store(lambda _: None, History("node-a")), objects.run(obj)
    wakers = Wakers(
        run=lambda _: None,
        all=lambda: None,
        session=lambda _: None,
        image=lambda _: None,
        policies=lambda: None,
        ending=ending,
    )
    take(store, wakers, "ADDED", objects.head(obj["metadata"]))
    take_session(store, wakers, "ADDED", objects.head(obj["metadata"]))
    assert store.put(run)
    assert obj == json.loads(json.dumps(obj))
    lookups.parse(run)


def _whole(door: Callable[[str], Any]) -> Door:
    """A door that only the API server knocks at: what comes there is JSON."""

    def only_json(text: str) -> None:
        depth = text.count("[") + text.count("{")
        if text.count("[") == text.count("]") and depth <= 2 * max(STORED):
            door(text)

    return only_json


def _besides(door: Callable[[str], Any]) -> Door:
    """Another field of a document that is measured as a whole: the deepest ones are tried in one field only."""

    def less_deep(text: str) -> None:
        if text.count("[") + text.count("{") <= 2 * max(STORED):
            door(text)

    return less_deep


DOORS: Mapping[str, Mapping[str, Door]] = {
    "specs": {
        "a document as a string": lambda text: documents.mapping(text, "spec.claude.settings"),
        "a document as an object": _whole(lambda text: documents.mapping(_parsed(text), "spec.claude.settings")),
        "a pull Secret": lambda text: pull_secrets.read(text),
        "a schema as a string": lambda text: documents.schema(text, "spec.claude.jsonSchema"),
        "a schema as an object": _whole(lambda text: documents.schema(_parsed(text), "spec.claude.jsonSchema")),
        "a run that was not cut": _whole(_uncut),
        "jsonSchema": _whole(_spec("jsonSchema")),
        "settings": _whole(_spec("settings")),
        "agents": _whole(_spec("agents")),
        "mcpConfigs": _whole(_spec("mcpConfigs", inside=lambda value: [value])),
        "a policy": _whole(_template),
    },
    "agents": {
        "the CLI's result": _result("result"),
        **{f"the CLI's {field}": _besides(_result(field)) for field in FIELDS},
        "the CLI's errors, within": _besides(lambda text: _result("errors")(f"[{text}]")),
        "a conversation": _transcript,
        "a container's label": Shape.from_label,
        "a session's state": _file(session_state.read),
        "what an attempt was given": _file(lambda path: given.read(path, "a-1")),
    },
    "nodes": {
        "Podman's answer": lambda text: failures.answer(text),
        "Podman's refusal": lambda text: failures.refusal(500, text.encode(), "GET /x"),
        "Podman's event": _event,
        "a registry's word": _pull,
        "a search's results": lambda text: search.read("registry.test", text),
        "a path's header": _archive,
        "an image's configuration": _inspect,
        "an image's facts": _facts,
        "a run of the API's": standin.parse,  # type: ignore[dict-item]
    },
    "administrators": {
        "--config": _file(lambda path: settings.load({}, path)),
        "--config, YAML": lambda text: _file(lambda path: settings.load({}, path))(_yaml(text)),
        "credentials": _file(_credentials),
        "KUBECONFIG": _kubeconfig(lambda _: Cluster()),
        "KUBECONFIG, YAML": lambda text: _kubeconfig(lambda _: Cluster())(_yaml(text)),
        "a person's kubeconfig": _file(lambda path: kubeconfig.read([path])),
        "a person's kubeconfig, YAML": lambda text: _file(lambda path: kubeconfig.read([path]))(_yaml(text)),
        "a person's manifest": lambda text: manifest.read(text.encode(), "it"),
        "ports": _file(ports.read),
        "processes": _file(processes.read),
    },
    "cluster": {"kopf": _whole(_kopf), "our own client": _whole(_plain), "the front proxy": _front_proxy},
}


def _yaml(text: str) -> str:
    return "- " * text.count("[") + "x" if text.startswith("[") else "".join(f"{' ' * n}a:\n" for n in _lines(text))


def _lines(text: str) -> Iterator[int]:
    """Indented by one more each: of a size that still is a file."""
    return iter(range(min(text.count("{"), 3_000)))


@functools.cache
def _document(shape: Callable[[int], str], depth: int) -> str:
    return shape(depth)


def _counting() -> Counter[str]:
    """Counts from now on how often what measures or cuts a document is called."""
    calls: Counter[str] = Counter()

    def counted(name: str, measure: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return measure(*args, **options)

        return count

    for name in MEASURES:
        setattr(bounds, name, counted(name, getattr(bounds, name)))
    return calls


def _shapes(depth: int) -> Sequence[Callable[[int], str]]:
    """What is deep takes long: there, a list and an object stand for all, and at the end one of them."""
    if depth <= ALL_SHAPES:
        return SHAPES
    return {LARGE: (_objects,), 10 * LARGE: (_open,)}.get(depth, (_open, _objects))


def main(group: str) -> None:
    """Try the doors of a group."""
    calls = _counting()
    for name, door in DOORS[group].items():
        calls.clear()
        for depth in DEPTHS:
            for shape in _shapes(depth):
                with contextlib.suppress(*REFUSED):  # a RecursionError is none of them
                    door(_document(shape, depth))
        print(name if calls or name in READ_BY_PYDANTIC else f"{name} was not reached", flush=True)
