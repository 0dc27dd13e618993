"""An image's `USER` and its `/etc/passwd` and `/etc/group` → uid, gid, groups and home, by the rules of the runtimes.

The rules are those of moby/sys `user.GetExecUser`, which Podman follows too. The format is `user[:group]`. A number is
always an id; a name must have a line, an id need not. Without a group, it is taken from the user's line, or else 0, and
all groups that list the user's name are added.
One difference: a line with invalid numbers is skipped here (there they count as 0), so that a broken line never
means root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stromboli.errors import InvalidInput
from stromboli.plan.compatibility import ImageUser

# Bytes; larger than any real file. What is beyond is not read.
LIMIT = 1024 * 1024
_MAX_ID = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


def resolve_user(spec: str, passwd: bytes | None, group: bytes | None) -> ImageUser:
    """Resolve `USER spec`. `passwd` and `group` are the files' contents, None if the image has no such file.

    `home` is None if passwd has no line for the user, or no absolute path in it.
    Raises InvalidInput for a name without a line, and for an id outside 0..2147483647.
    """
    user_part, _, group_part = spec.partition(":")
    user = _find_user(user_part, passwd)
    if user is None:
        user = _User("", _id_without_line(user_part, "user", "/etc/passwd"), 0, "")
    home = user.home if user.home.startswith("/") else None
    if group_part:
        return ImageUser(user.uid, _gid(group_part, group), home)
    return ImageUser(user.uid, user.gid, home, tuple(_groups_of(user.name, group)) if user.name else ())


def _find_user(wanted: str, passwd: bytes | None) -> _User | None:
    number = _number(wanted or "0")
    for user in _users(passwd or b""):
        if user.uid == number if number is not None else user.name == wanted:
            return user
    return None


def _gid(wanted: str, group: bytes | None) -> int:
    number = _number(wanted)
    if number is None:
        for fields in _lines(group or b""):
            gid = _number(fields[2]) if len(fields) >= 3 else None
            if fields[0] == wanted and gid is not None and 0 <= gid <= _MAX_ID:
                return gid
    return _id_without_line(wanted, "group", "/etc/group")


def _groups_of(name: str, group: bytes | None) -> Iterator[int]:
    found = set()
    for fields in _lines(group or b""):
        gid = _number(fields[2]) if len(fields) >= 4 else None
        if gid is not None and 0 <= gid <= _MAX_ID and gid not in found and name in fields[3].split(","):
            found.add(gid)
            yield gid


def _id_without_line(wanted: str, what: str, file: str) -> int:
    number = _number(wanted or "0")
    if number is None:
        raise InvalidInput(
            f"the image's {what} {_shown(wanted)} is not in its {file}; "
            f"use an image whose {what} has a line there or is a number"
        )
    if not 0 <= number <= _MAX_ID:
        raise InvalidInput(f"the image's {what} {_shown(wanted)} is not an id; ids are 0 to {_MAX_ID}")
    return number


def _users(passwd: bytes) -> Iterator[_User]:
    for fields in _lines(passwd):
        if len(fields) < 4:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is not None and gid is not None and 0 <= uid <= _MAX_ID and 0 <= gid <= _MAX_ID:
            yield _User(fields[0], uid, gid, fields[5] if len(fields) > 5 else "")


def _lines(data: bytes) -> Iterator[list[str]]:
    for line in data[:LIMIT].split(b"\n"):
        if text := line.strip().decode("utf-8", "backslashreplace"):
            yield text.split(":")


def _number(text: str) -> int | None:
    """Parse like Go's Atoi: ASCII digits with an optional sign. None for anything else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else f"{text[:61]}…")
