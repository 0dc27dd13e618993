"""Events of YAML → a tree of values with their places, as Compose reads them: anchors, merge keys, keys, tags.

Depth, values and text are counted as the events come, an alias as what it stands for; nothing here is recursive. So a
tree is never deeper or larger than the bounds, and whatever walks it may be recursive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from stromboli.compose.document import events, scalars
from stromboli.compose.document.node import Node, Value
from stromboli.compose.document.scalars import CORE
from stromboli.compose.problem import Mark, Path, key, problem, quoted
from stromboli.errors import ComposeProblem

MAX_VALUES = 100_000
MAX_TEXT = 4 * 1024 * 1024  # characters of all keys and scalars

_MERGE = "<<"
_COLLECTIONS = {f"{CORE}map": dict, f"{CORE}seq": list}


def parse(data: bytes, file: str) -> Node:
    """The mapping that the file holds. `file` is its name in messages. Raises ComposeProblem."""
    builder = _Builder(file)
    for event in events.parse(data, file):
        builder.take(event)
    return builder.finished()


@dataclass(slots=True)
class _Anchor:
    """A value that aliases may stand for, its size and height; `node` is None while it is still open."""

    node: Node | None = None
    values: int = 0
    text: int = 0
    height: int = 0


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open. `before` are the values and text before it."""

    line: int
    anchor: _Anchor | None
    before: tuple[int, int]
    height: int = 0

    def step(self) -> tuple[str | int, ...]:
        """Where in this collection the next value is."""
        raise NotImplementedError


@dataclass(slots=True)
class _List(_Frame):
    items: list[Node] = field(default_factory=list)

    def step(self) -> tuple[str | int, ...]:
        return (len(self.items),)


@dataclass(slots=True)
class _Mapping(_Frame):
    """`key` is the key whose value comes next; None if a key comes next. `merging`: that key is a merge key."""

    values: dict[str, Node] = field(default_factory=dict)
    key: str | None = None
    key_line: int = 0
    merging: bool = False
    merged: list[dict[str, Node]] | None = None

    def step(self) -> tuple[str | int, ...]:
        return () if self.key is None else (self.key,)


class _Builder:
    def __init__(self, file: str) -> None:
        self._file = file
        self._mark = Mark(file, 1)
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchor] = {}
        self._values = 0
        self._text = 0
        self._documents = 0
        self._root: Node | None = None

    def finished(self) -> Node:
        """The file's one mapping."""
        root = self._root
        if root is None or root.value is None:
            raise ComposeProblem("file", "is empty: a compose file has services", self._file)
        if not isinstance(root.value, dict):
            what = f"line {root.mark.line} begins no mapping: a compose file has keys such as services at its top"
            raise ComposeProblem("file", what, str(root.mark))
        return root

    def take(self, event: yaml.Event) -> None:
        """The next event."""
        line = events.line(event)
        match event:
            case yaml.ScalarEvent():
                frame = self._stack[-1] if self._stack else None
                if isinstance(frame, _Mapping) and frame.key is None:
                    self._scalar_key(event, line, frame)
                else:
                    self._scalar(event, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, line)
            case yaml.CollectionEndEvent():
                self._close()
            case yaml.AliasEvent():
                self._alias(event, line)
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    what = f"line {line} begins a second document: a compose file is one, others are files of their own"
                    raise ComposeProblem("file", what, str(Mark(self._file, line)))

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        value = event.value if event.tag is None and not event.implicit[0] else self._value(event, line)
        anchor = None if event.anchor is None else self._anchored(event.anchor)
        before = (self._values, self._text)
        self._count(1, len(event.value), line)
        self._complete(value, line, anchor, before, 0)

    def _scalar_key(self, event: yaml.ScalarEvent, line: int, mapping: _Mapping) -> None:
        self._text += len(event.value)
        if event.value == _MERGE and (event.tag == f"{CORE}merge" or (event.tag is None and event.implicit[0])):
            self._merge_key(mapping, line)
            return
        value = self._value(event, line, event.value)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(Node(value, self._at(line)), 1, len(event.value))
        self._key(mapping, value, event.value, line)

    def _value(self, event: yaml.ScalarEvent, line: int, *below: str) -> Value:
        if event.tag is None:
            return scalars.plain(event.value) if event.implicit[0] else event.value
        if event.tag == "!":
            return event.value
        try:
            return scalars.tagged(event.tag, event.value)
        except ValueError:
            raise self._bad_tag(event.tag, line, *below) from None

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if self._awaiting_key() is not None:
            raise self._problem(f"line {line} has a list or a mapping as a key: keys are text", line)
        kind = dict if isinstance(event, yaml.MappingStartEvent) else list
        if event.tag not in (None, "!") and _COLLECTIONS.get(event.tag) is not kind:
            raise self._bad_tag(event.tag, line)
        if len(self._stack) >= events.MAX_DEPTH:
            raise events.too_deep(line, self._file)
        anchor, before = self._anchored(event.anchor), (self._values, self._text)
        self._count(1, 0, line)
        self._stack.append(_Mapping(line, anchor, before) if kind is dict else _List(line, anchor, before))

    def _close(self) -> None:
        frame = self._stack.pop()
        value: Value
        match frame:
            case _Mapping():
                for source in frame.merged or ():
                    for name, node in source.items():
                        frame.values.setdefault(name, node)
                value = frame.values
            case _List():
                value = tuple(frame.items)
            case _:
                raise AssertionError(frame)
        self._complete(value, frame.line, frame.anchor, frame.before, frame.height + 1)

    def _alias(self, event: yaml.AliasEvent, line: int) -> None:
        name = event.anchor or ""
        anchor = self._anchors.get(name)
        if anchor is None:
            raise self._problem(f"line {line} has the alias *{quoted(name)} without its anchor before it", line)
        if anchor.node is None:
            raise self._problem(f"line {line} has the alias *{quoted(name)} inside its own anchor", line)
        if (mapping := self._awaiting_key()) is not None:
            self._text += anchor.text
            self._key(mapping, anchor.node.value, f"*{name}", line)
            return
        if len(self._stack) + anchor.height > events.MAX_DEPTH:
            raise events.too_deep(line, self._file)
        before = (self._values, self._text)
        self._count(anchor.values, anchor.text, line)
        self._complete(anchor.node.value, line, None, before, anchor.height)

    def _complete(self, value: Value, line: int, anchor: _Anchor | None, before: tuple[int, int], height: int) -> None:
        """Put a value where it belongs. Its place is its key's, if it has one."""
        frame = self._stack[-1] if self._stack else None
        mapping = frame if isinstance(frame, _Mapping) else None
        at = line if mapping is None else mapping.key_line
        node = Node(value, self._mark if self._mark.line == at else self._at(at))
        if anchor is not None:
            anchor.node, anchor.height = node, height
            anchor.values, anchor.text = self._values - before[0], self._text - before[1]
        if frame is None:
            self._root = node
            return
        if height > frame.height:
            frame.height = height
        if mapping is None:
            assert isinstance(frame, _List)
            frame.items.append(node)
        elif mapping.key is not None:
            if mapping.merging:
                mapping.merged = self._sources(node, mapping.key_line)
                mapping.merging = False
            else:
                mapping.values[mapping.key] = node
            mapping.key = None

    def _key(self, mapping: _Mapping, value: Value, text: str, line: int) -> None:
        if not isinstance(value, str):
            at = f"{key(self._path())}[{'null' if value is None else quoted(text)}]"
            what = "is a key that is not text: put it in quotes"
            raise ComposeProblem(at, what, str(Mark(self._file, line)))
        if value in mapping.values or (value == _MERGE and mapping.merged is not None):
            raise self._problem(f"is there twice, again in line {line}", line, value)
        mapping.key, mapping.key_line = value, line

    def _merge_key(self, mapping: _Mapping, line: int) -> None:
        if mapping.merged is not None or _MERGE in mapping.values:
            raise self._problem(f"is there twice, again in line {line}: write <<: [*a, *b]", line, _MERGE)
        mapping.key, mapping.key_line, mapping.merging = _MERGE, line, True

    def _sources(self, node: Node, line: int) -> list[dict[str, Node]]:
        """The mappings that a merge key names."""
        if isinstance(node.value, dict):
            return [node.value]
        if not isinstance(node.value, tuple):
            raise self._problem("merges what is no mapping: write <<: *name, or <<: [*a, *b]", line)
        sources = []
        for index, item in enumerate(node.value):
            if not isinstance(item.value, dict):
                raise self._problem("merges what is no mapping: write <<: [*a, *b]", line, index)
            sources.append(item.value)
        return sources

    def _anchored(self, name: str | None) -> _Anchor | None:
        """The record of a new anchor; a repeated one replaces the earlier."""
        if name is None:
            return None
        self._anchors[name] = anchor = _Anchor()
        return anchor

    def _awaiting_key(self) -> _Mapping | None:
        frame = self._stack[-1] if self._stack else None
        return frame if isinstance(frame, _Mapping) and frame.key is None else None

    def _count(self, values: int, text: int, line: int) -> None:
        self._values += values
        self._text += text
        if self._values > MAX_VALUES:
            what = f"has too many values: at most {MAX_VALUES}, those that aliases stand for included"
            raise ComposeProblem("file", what, str(Mark(self._file, line)))
        if self._text > MAX_TEXT:
            what = f"has too much text: at most {MAX_TEXT} characters, what aliases stand for included"
            raise ComposeProblem("file", what, str(Mark(self._file, line)))

    def _at(self, line: int) -> Mark:
        if self._mark.line != line:
            self._mark = Mark(self._file, line)
        return self._mark

    def _bad_tag(self, tag: str, line: int, *below: str) -> ComposeProblem:
        short = f"!!{tag.removeprefix(CORE)}" if tag.startswith(CORE) else tag
        return self._problem(f"has the tag {quoted(short)}, which does not fit here: leave it out", line, *below)

    def _problem(self, what: str, line: int, *below: str | int) -> ComposeProblem:
        return problem((*self._path(), *below), what, Mark(self._file, line))

    def _path(self) -> Path:
        return tuple(part for frame in self._stack for part in frame.step())
