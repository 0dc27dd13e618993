"""A Dockerfile → every image that a build of it can reach, and the file in which each of them is an image's id.

An image is reached by `FROM`, `COPY --from`, `RUN --mount=…,from=`, the `syntax` directive, and by what an image's own
ONBUILD says, which is refused when the images are known. Stages get names of ours, so that no stage is mistaken for an
image, or an image for a stage. Rules: Dockerfile reference, "FROM", "Understand how ARG and FROM interact", "COPY
--from", "RUN --mount".

What is built is safe for builders that follow links out of a mount, as Buildah does up to 1.35: see `mounts.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stromboli import bounds
from stromboli.compose.dockerfile import mounts
from stromboli.compose.dockerfile.lines import Instruction, Parsed
from stromboli.compose.dockerfile.mounts import Mount
from stromboli.compose.problem import quoted
from stromboli.errors import InvalidInput

SCRATCH = "scratch"
_STAGE = re.compile(r"[a-z][a-z0-9._-]*")
_FLAG = re.compile(r"--([a-z][a-z0-9-]*)(?:=(\S*))?(?:\s+|$)")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:[-+])([^{}$]*))?\})")
_ARG = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?")
# The flags that are known to name no image, socket or privilege …
_FLAGS = {
    "FROM": {"platform"},
    "COPY": {"from", "chown", "chmod", "link"},
    "ADD": {"chown", "chmod", "link"},
    "RUN": {"mount", "network"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "start-interval", "retries"},
}
# … and of these, the ones that Buildah does not know and that change nothing about the image, or nearly nothing.
_LEFT_OUT = {"FROM": {"platform"}, "COPY": {"link"}, "ADD": {"link"}, "HEALTHCHECK": {"start-interval"}}


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a build needs: the reference as it is after its variables are filled in, and its line.

    `argument` is the build argument that decides it, None if the file alone does.
    """

    line: int
    reference: str
    argument: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of what is built. `reference` is the image whose id belongs where the NUL is; empty if there is none."""

    text: str
    reference: str = ""
    begins: bool = False  # a stage of the file


@dataclass(frozen=True, slots=True)
class Reach:
    """What a build can reach. `syntax` is an image that Docker would run and Podman does not: it is only checked.

    `stages` are the names that the file has for its stages, in order, None for one without a name.
    """

    bases: tuple[Base, ...]
    syntax: str | None
    stages: tuple[str | None, ...]
    _lines: tuple[Line, ...] = ()

    def pinned(self, ids: Mapping[str, str], inherited: Mapping[str, Sequence[str]] | None = None) -> str:
        """The Dockerfile with each reference replaced by the id of its image; `ids` has one for each base.

        `inherited` are instructions for a stage that begins with an image, by the image's reference.
        """
        out = list[str]()
        for line in self._lines:
            out.append(line.text.replace("\0", ids[line.reference]) if line.reference else line.text)
            if line.begins:
                out += (inherited or {}).get(line.reference, ())
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
    for instruction in parsed.instructions:
        walk.take(instruction)
    if not walk.stages:
        raise InvalidInput("has no FROM, so there is nothing to build")
    unique = {base.reference: base for base in reversed(walk.bases)}
    return Reach(
        tuple(sorted(unique.values(), key=lambda base: base.line)),
        parsed.syntax,
        tuple(walk.stages),
        tuple(walk.lines),
    )


class _Walk:
    """One pass over the instructions, and what has been found so far."""

    def __init__(self, arguments: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._values: dict[str, str] = {}  # ARGs before the first FROM, which alone hold in a FROM
        self._decided: dict[str, str] = {}  # of these, the ones that a build argument decides, and which
        self._mounts = 0
        self._begin = 0  # where in `lines` the current stage begins
        self.bases: list[Base] = []
        self.stages: list[str | None] = []
        self.lines: list[Line] = []

    def take(self, instruction: Instruction) -> None:
        flags, rest = _flags(instruction)
        match instruction.name:
            case "ARG" if not self.stages:
                self._argument(instruction)
                self._plain(instruction, flags, rest)
            case "FROM":
                self._from(instruction, flags, rest)
            case _ if not self.stages:
                raise InvalidInput(f"line {instruction.line}: only ARG may stand before the first FROM")
            case "COPY":
                self._copy(instruction, flags, rest)
            case "ADD":
                _check_sources(instruction, rest)
                self._plain(instruction, flags, rest)
            case "RUN":
                self._run(instruction, flags, rest)
            case "ONBUILD":
                raise InvalidInput(f"line {instruction.line}: ONBUILD has no effect on this build; leave it out")
            case _:
                self._plain(instruction, flags, rest)

    def _plain(self, instruction: Instruction, flags: Sequence[tuple[str, str]], rest: str) -> None:
        self.lines.append(Line(_written(instruction.name, flags, rest)))

    def _argument(self, instruction: Instruction) -> None:
        for word in instruction.rest.split():
            match = _ARG.fullmatch(word)
            if match is None:
                raise InvalidInput(f"line {instruction.line}: an ARG before FROM is NAME or NAME=value, without blanks")
            name, default = match[1], match[2]
            self._decided.pop(name, None)
            if name in self._arguments:
                self._values[name], self._decided[name] = self._arguments[name], name
            elif default is not None:
                self._values[name], by = self._filled(default.strip("\"'"), instruction.line)
                if by is not None:
                    self._decided[name] = by

    def _from(self, instruction: Instruction, flags: Sequence[tuple[str, str]], rest: str) -> None:
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
        image, by = self._filled(words[0], instruction.line)
        # A FROM may not name a stage by its number: that would be an image.
        text, reference = self._referred(instruction.line, image, [] if image.isdigit() else self.stages, by)
        self._begin = len(self.lines)
        self.lines.append(Line(f"FROM {text} AS {_ours(len(self.stages))}", reference, begins=True))
        self.stages.append(own)

    def _copy(self, instruction: Instruction, flags: Sequence[tuple[str, str]], rest: str) -> None:
        sources = [value for name, value in flags if name == "from"]
        if len(sources) > 1:
            raise InvalidInput(f"line {instruction.line}: --from is given twice")
        if not sources:
            self._plain(instruction, flags, rest)
            return
        text, reference = self._referred(instruction.line, sources[0], self.stages[:-1])
        others = [("from", text), *(flag for flag in flags if flag[0] != "from")]
        self.lines.append(Line(_written("COPY", others, rest), reference))

    def _run(self, instruction: Instruction, flags: Sequence[tuple[str, str]], rest: str) -> None:
        written = list[str]()
        for name, value in flags:
            if name == "network":
                if value != "default":
                    raise InvalidInput(
                        f"line {instruction.line}: RUN --network is default: a build has the network that the policy "
                        "gives it"
                    )
                continue
            mount = mounts.parse(value, instruction.line)
            source = self._copied(mount, instruction.line) if mount.copies else None
            written.append(f"--mount={mount.written(source)}")
        self.lines.append(Line(" ".join(("RUN", *written, rest))))

    def _copied(self, mount: Mount, line: int) -> str:
        """The stage, before this one, into which the files of a mount are copied, and nothing else."""
        stage = f"stromboli-mount-{self._mounts}"
        self._mounts += 1
        option, reference = "", ""
        if mount.source_image is not None:
            text, reference = self._referred(line, mount.source_image, self.stages[:-1])
            option = f"--from={text} "
        paths = json.dumps([mount.path or ("/" if option else "."), mounts.COPIED])
        copied = [Line(f"FROM {SCRATCH} AS {stage}"), Line(f"COPY {option}{paths}", reference)]
        self.lines[self._begin : self._begin] = copied
        self._begin += len(copied)
        return stage

    def _referred(
        self, line: int, image: str, stages: Sequence[str | None], argument: str | None = None
    ) -> tuple[str, str]:
        """What stands for `image`, which is a stage, the number of one, `scratch`, or an image that is reached: then
        the second is the image's reference, and the first is NUL.
        """
        if not image or "$" in image:
            raise InvalidInput(f"line {line}: the image or stage must be written out, without variables")
        position = _stage_index(image, stages)
        if position is not None:
            return _ours(position), ""
        if image == SCRATCH:
            return SCRATCH, ""
        if any(character in image for character in "\0\"'\\`"):
            raise InvalidInput(f"line {line}: {quoted(image)} is not an image")
        self.bases.append(Base(line, image, argument))
        return "\0", image

    def _filled(self, text: str, line: int) -> tuple[str, str | None]:
        """`text` with its variables replaced by the global ARGs, and the build argument that decides one of them.

        Raises InvalidInput for what is left of a `$`.
        """
        decided = list[str]()

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            given = self._values.get(name, "")
            if name in self._decided:
                decided.append(self._decided[name])
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
        return filled, next(iter(decided), None)


def _check_sources(instruction: Instruction, rest: str) -> None:
    """Refuse an ADD that fetches: the builder would do that itself, in the node's own network.

    Whatever could turn into an address is refused with it.
    """
    try:
        words = bounds.json_document(rest, bounds.DOCUMENT) if rest.startswith("[") else rest.split()
    except ValueError:
        words = rest.split()
    sources = [str(word) for word in words][:-1] if isinstance(words, list) else []
    for source in sources:
        if "://" in source or source.lower().startswith(("git@", "http:", "https:", "git:", "ssh:")):
            raise InvalidInput(
                f"line {instruction.line}: ADD fetches nothing; fetch it by RUN, in the network that the policy gives "
                "to builds"
            )
        if any(character in source for character in "\"'\\`") or ("$" in source and not source.startswith(("./", "/"))):
            raise InvalidInput(
                f"line {instruction.line}: a source of ADD has no quotes, and begins with ./ if it has a variable"
            )


def _written(name: str, flags: Sequence[tuple[str, str]], rest: str) -> str:
    """An instruction, without the flags that are left out."""
    left_out = _LEFT_OUT.get(name, set())
    kept = [f"--{flag}={value}" for flag, value in flags if flag not in left_out]
    return " ".join(part for part in (name, *kept, rest) if part)


def _stage_index(name: str, stages: Sequence[str | None]) -> int | None:
    if name.isascii() and name.isdigit():
        return int(name) if int(name) < len(stages) else None
    return next((n for n, stage in enumerate(stages) if stage == name.lower()), None)


def _ours(index: int) -> str:
    return f"stromboli-stage-{index}"


def _flags(instruction: Instruction) -> tuple[list[tuple[str, str]], str]:
    """The flags at the beginning of an instruction, and what follows. Raises InvalidInput for one that is not known."""
    rest, found, known = instruction.rest, [], _FLAGS.get(instruction.name, set())
    while rest.startswith("--"):
        match = _FLAG.match(rest)
        if match is None or match[1] not in known:
            name = quoted(rest.split()[0].split("=")[0])
            raise InvalidInput(f"line {instruction.line}: {instruction.name} {name} is not supported")
        value = match[2] or ""
        if any(character in value for character in "\"'\\`"):  # with them, a builder may see the flag's end elsewhere
            raise InvalidInput(f"line {instruction.line}: write --{match[1]} without quotes and backslashes")
        found.append((match[1], value))
        rest = rest[match.end() :]
    return found, rest
