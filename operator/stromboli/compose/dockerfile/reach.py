"""A Dockerfile → every image that a build of it can reach, and the file in which each of them is an image's id.

An image is reached by `FROM`, `COPY --from`, `RUN --mount=…,from=`, the `syntax` directive, and by what an image's own
ONBUILD says, which is refused when the images are known. Stages get names of ours, so that no stage is mistaken for an
image, or an image for a stage. Rules: Dockerfile reference, "FROM", "Understand how ARG and FROM interact", "COPY
--from", "RUN --mount".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stromboli.compose.dockerfile.lines import Instruction, Parsed
from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

SCRATCH = "scratch"
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
_FLAG = re.compile(r"--([a-z][a-z0-9-]*)(?:=(\S*))?(?:\s+|$)")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:[-+])([^{}$]*))?\})")
_ARG = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?")
# The flags that are known to name no image, socket or privilege.
_FLAGS = {
    "FROM": {"platform"},
    "COPY": {"from", "chown", "chmod", "link"},
    "ADD": {"chown", "chmod", "link", "checksum"},
    "RUN": {"mount", "network"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "start-interval", "retries"},
}
_MOUNT_TYPES = ("bind", "cache", "tmpfs")


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a build needs: the reference as it is after its variables are filled in, and its line."""

    line: int
    reference: str


@dataclass(frozen=True, slots=True)
class Reach:
    """What a build can reach. `syntax` is an image that Docker would run and Podman does not: it is only checked.

    `stages` are the names that the file has for its stages, in order, None for one without a name.
    """

    bases: tuple[Base, ...]
    syntax: str | None
    stages: tuple[str | None, ...]
    instructions: tuple[Instruction, ...]
    _replaced: tuple[tuple[int, str, str], ...] = ()

    def pinned(self, ids: Mapping[str, str]) -> str:
        """The Dockerfile with each reference replaced by the id of its image; `ids` has one for each base."""
        out = []
        for index, instruction in enumerate(self.instructions):
            rest = instruction.rest
            for at, template, reference in self._replaced:
                if at == index:
                    rest = template.replace("\0", ids[reference]) if reference else template
            out.append(f"{instruction.name} {rest}")
        return "\n".join(out) + "\n"

    def target(self, name: str | None) -> str | None:
        """Our name of a stage that `build.target` names. Raises InvalidInput."""
        if name is None:
            return None
        index = _stage_index(name, self.stages)
        if index is None:
            raise InvalidInput(f"the Dockerfile has no stage {quoted(name)}")
        return _ours(index)


def reach(parsed: Parsed, arguments: Mapping[str, str]) -> Reach:
    """Everything that the file can reach. `arguments` are those of the build. Raises InvalidInput."""
    walk = _Walk(arguments)
    for index, instruction in enumerate(parsed.instructions):
        walk.take(index, instruction)
    if not walk.stages:
        raise InvalidInput("has no FROM, so there is nothing to build")
    unique = {base.reference: base for base in reversed(walk.bases)}
    return Reach(
        tuple(sorted(unique.values(), key=lambda base: base.line)),
        parsed.syntax,
        tuple(walk.stages),
        parsed.instructions,
        tuple(walk.replaced),
    )


class _Walk:
    """One pass over the instructions, and what has been found so far."""

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._values: dict[str, str] = {}  # ARGs before the first FROM, which alone hold in a FROM
        self.bases: list[Base] = []
        self.stages: list[str | None] = []
        self.replaced: list[tuple[int, str, str]] = []

    def take(self, index: int, instruction: Instruction) -> None:
        flags, rest = _flags(instruction)
        match instruction.name:
            case "ARG" if not self.stages:
                self._argument(instruction)
            case "FROM":
                self._from(index, instruction, flags, rest)
            case _ if not self.stages:
                raise InvalidInput(f"line {instruction.line}: only ARG may stand before the first FROM")
            case "COPY":
                self._copy(index, instruction)
            case "RUN":
                self._run(index, instruction, flags)
            case "ONBUILD":
                raise InvalidInput(f"line {instruction.line}: ONBUILD has no effect on this build; leave it out")
            case _:
                pass

    def _argument(self, instruction: Instruction) -> None:
        for word in instruction.rest.split():
            match = _ARG.fullmatch(word)
            if match is None:
                raise InvalidInput(f"line {instruction.line}: an ARG before FROM is NAME or NAME=value, without blanks")
            name, default = match[1], match[2]
            if name in self._arguments:
                self._values[name] = self._arguments[name]
            elif default is not None:
                self._values[name] = self._filled(default.strip("\"'"), instruction.line)

    def _from(self, index: int, instruction: Instruction, flags: list[tuple[str, str]], rest: str) -> None:
        words = rest.split()
        named = len(words) == 3 and words[1].lower() == "as"
        if len(words) != 1 and not named:
            raise InvalidInput(f"line {instruction.line}: a FROM is FROM image, or FROM image AS stage")
        own = words[2].lower() if named else None
        if own is not None and (not _STAGE.fullmatch(own) or own in self.stages):
            raise InvalidInput(
                f"line {instruction.line}: {quoted(words[2])} cannot be the name of a stage, or is one already"
            )
        for _, platform in flags:
            if platform not in ("$BUILDPLATFORM", "$TARGETPLATFORM", "${BUILDPLATFORM}", "${TARGETPLATFORM}"):
                raise InvalidInput(f"line {instruction.line}: --platform names another platform; leave it out")
        image = self._filled(words[0], instruction.line)
        suffix = f" AS {_ours(len(self.stages))}"
        # A FROM may not name a stage by its number: that would be an image.
        stages = [] if image.isdigit() else self.stages
        self._refer(index, instruction.line, image, "", suffix, stages)
        self.stages.append(own)

    def _copy(self, index: int, instruction: Instruction) -> None:
        found = list(re.finditer(r"--from=(\S*)", _leading(instruction.rest)))
        if len(found) > 1:
            raise InvalidInput(f"line {instruction.line}: --from is given twice")
        for match in found:
            before, after = instruction.rest[: match.start(1)], instruction.rest[match.end(1) :]
            self._refer(index, instruction.line, match[1], before, after, self.stages[:-1])

    def _run(self, index: int, instruction: Instruction, flags: list[tuple[str, str]]) -> None:
        leading = _leading(instruction.rest)
        sources = []
        for name, value in flags:
            if name == "network":
                if value not in ("default", "none"):
                    raise InvalidInput(f"line {instruction.line}: RUN --network is default or none")
                continue
            options = [tuple(part.partition("=")[::2]) for part in value.split(",")]
            keys = [key.lower() for key, _ in options]
            if len(set(keys)) != len(keys):
                raise InvalidInput(f"line {instruction.line}: a --mount gives an option twice")
            fields = dict(zip(keys, (text for _, text in options), strict=True))
            if fields.get("type", "bind") not in _MOUNT_TYPES:
                raise InvalidInput(
                    f"line {instruction.line}: RUN --mount is of type {', '.join(_MOUNT_TYPES)}; a build gets no "
                    "secrets and no agent of ssh"
                )
            if "from" in fields:
                sources.append(fields["from"])
        if len(sources) > 1:
            raise InvalidInput(f"line {instruction.line}: only one --mount of a RUN may have from=")
        for source in sources:
            match = re.search(r"(?<=[=,])from=([^,\s]*)", leading)
            if match is None or match[1] != source:
                raise InvalidInput(f"line {instruction.line}: the --mount cannot be read; write from= in lower case")
            before, after = instruction.rest[: match.start(1)], instruction.rest[match.end(1) :]
            self._refer(index, instruction.line, source, before, after, self.stages[:-1])

    def _refer(self, index: int, line: int, image: str, before: str, after: str, stages: Sequence[str | None]) -> None:
        """`image` is a stage, the number of one, `scratch`, or an image that is reached."""
        if not image or "$" in image:
            raise InvalidInput(f"line {line}: the image or stage must be written out, without variables")
        position = _stage_index(image, stages)
        if position is not None:
            self.replaced.append((index, f"{before}{_ours(position)}{after}", ""))
        elif image == SCRATCH:
            self.replaced.append((index, f"{before}{SCRATCH}{after}", ""))
        else:
            if any(character in image for character in "\0\"'\\`"):
                raise InvalidInput(f"line {line}: {quoted(image)} is not an image")
            self.bases.append(Base(line, image))
            self.replaced.append((index, f"{before}\0{after}", image))

    def _filled(self, text: str, line: int) -> str:
        """`text` with its variables replaced by the global ARGs. Raises InvalidInput for what is left of a `$`."""

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            given = self._values.get(name, "")
            if match[3] == ":-":
                return given or match[4]
            if match[3] == ":+":
                return match[4] if given else ""
            return given

        filled = _VARIABLE.sub(value, text)
        if "$" in filled or not filled:
            raise InvalidInput(
                f"line {line}: {quoted(text)} cannot be filled in: give the variable by an ARG before the first FROM, "
                "or by build.args"
            )
        return filled


def _stage_index(name: str, stages: Sequence[str | None]) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name) if int(name) < len(stages) else None
    return next((n for n, stage in enumerate(stages) if stage == name.lower()), None)


def _ours(index: int) -> str:
    return f"stromboli-stage-{index}"


def _leading(rest: str) -> str:
    """The flags at the beginning, as they stand."""
    end = 0
    while match := _FLAG.match(rest, end):
        end = match.end()
    return rest[:end]


def _flags(instruction: Instruction) -> tuple[list[tuple[str, str]], str]:
    """The flags at the beginning of an instruction, and what follows. Raises InvalidInput for one that is not known."""
    rest, found, known = instruction.rest, [], _FLAGS.get(instruction.name, set())
    while rest.startswith("--"):
        match = _FLAG.match(rest)
        if match is None or match[1] not in known:
            name = quoted(rest.split()[0].split("=")[0])
            raise InvalidInput(f"line {instruction.line}: {instruction.name} {name} is not supported")
        found.append((match[1], match[2] or ""))
        rest = rest[match.end() :]
    return found, rest
