"""What is in one image: its os-release, and every piece of evidence of a tool. What counts is decided in `plan/`."""

from __future__ import annotations

from collections.abc import Iterable

from stromboli.errors import InvalidDatabase
from stromboli.inspection.contents import databases, osrelease, runtimes, variables
from stromboli.inspection.contents.commands import Command, commands
from stromboli.inspection.opener import Opener, executable
from stromboli.plan.contents import Contents, Evidence, Source, choose, operating_system

_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_JVMS = "/usr/lib/jvm"
_USUAL_JVMS = ("default-java", "default-jvm", "java")  # asked for if names cannot be listed
_MOST_JVMS = 16


async def image_contents(opener: Opener, environ: Iterable[str]) -> Contents:
    """What is in an image whose environment is `environ` (`NAME=value`). Nothing of it is executed.

    Call `startfiles` first, to check the files that Podman itself reads. Errors of the opener (PodmanUnavailable,
    PodmanError) propagate: then nothing is known. What is wrong with the image's own files does not: what they do not
    say is not there.
    """
    given = variables.parse(environ)
    system = operating_system(await _os_release(opener))
    database = await databases.read(opener, system.id if system is not None else "")
    evidence = list(database.says)
    known = {piece.tool for piece in evidence}
    found = await commands(opener, given, known, packaged=database.complete)
    around = runtimes.Around(given, found)
    for command in found:
        evidence.append(await _evidence(opener, command, around))
    if "java" not in known | {command.tool for command in found}:
        evidence += await _jvms(opener, around)
    return Contents(system, choose(evidence))


async def _os_release(opener: Opener) -> dict[str, str]:
    for path in _OS_RELEASE:
        async with opener.open(path, osrelease.LIMIT) as file:
            try:
                if file is not None and (fields := osrelease.parse(file.at(0, file.size))):
                    return fields
            except InvalidDatabase:  # the file cannot be read
                continue
    return {}


async def _evidence(opener: Opener, command: Command, around: runtimes.Around) -> Evidence:
    """By a file of the program's installation, or else by a variable, now that the program is known to be there."""
    by_file = runtimes.BY_TOOL.get(command.tool)
    try:
        version = await by_file(opener, command, around) if by_file is not None else ""
    except InvalidDatabase:  # the file cannot be read
        version = ""
    if version:
        return Evidence(command.tool, version, Source.FILE)
    stated = variables.version(around.environ, command.tool)
    return Evidence(command.tool, stated, Source.VARIABLE if stated else Source.PROGRAM)


async def _jvms(opener: Opener, around: runtimes.Around) -> list[Evidence]:
    """The Java installations in the folder where distributions have theirs, on no PATH and of no package."""
    names = await opener.names(_JVMS)
    evidence = []
    for name in _USUAL_JVMS if names is None else sorted(names)[:_MOST_JVMS]:
        folder = f"{_JVMS}/{name}/bin"
        if (program := await executable(opener, f"{folder}/java")) is not None:
            evidence.append(await _evidence(opener, Command("java", "java", folder, program.path), around))
    return evidence
