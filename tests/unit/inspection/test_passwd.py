"""`USER` of an image → uid, gid, home, by the rules of the container runtimes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import InvalidInput
from stromboli.inspection.passwd import resolve_user
from stromboli.plan.compatibility import ImageUser

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n"
    b"app:x:1000:1001:An App,,,:/home/app:/bin/sh\n"
    b"\n"
    b"nohome:x:1002:1002\n"
    b"2000:x:3000:3000::/named-like-an-id:\n"
    b"app:x:9:9::/second:\n"
    b"broken:x:abc:1:/:\n"
    b"huge:x:99999999999:1:/:\n"
    b"relative:x:1003:1003::home:\n"
)
GROUP = (
    b"root:x:0:\nweb:x:33:app\nbroken:x:\nodd:x:abc:app\nhuge:x:99999999999:app\nmore:x:44:other,app\n"
    b"again:x:33:app\nshort:x:45\nfor-nobody:x:46:,\nlonger:x:47:apple\n"
)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", ImageUser(0, 0, "/root")),
        ("root", ImageUser(0, 0, "/root")),
        ("0", ImageUser(0, 0, "/root")),
        ("app", ImageUser(1000, 1001, "/home/app", (33, 44))),
        ("1000", ImageUser(1000, 1001, "/home/app", (33, 44))),
        ("1000:5", ImageUser(1000, 5, "/home/app")),
        ("app:web", ImageUser(1000, 33, "/home/app")),
        ("app:", ImageUser(1000, 1001, "/home/app", (33, 44))),
        (":web", ImageUser(0, 33, "/root")),
        ("4711", ImageUser(4711, 0, None)),
        ("4711:4712", ImageUser(4711, 4712, None)),
        ("4711:web", ImageUser(4711, 33, None)),
        ("2000", ImageUser(2000, 0, None)),  # a number is never looked up as a name
        ("nohome", ImageUser(1002, 1002, None)),
        ("relative", ImageUser(1003, 1003, None)),
        ("+7", ImageUser(7, 0, None)),
        ("2147483647", ImageUser(2147483647, 0, None)),
    ],
)
def test_specs(spec: str, expected: ImageUser) -> None:
    assert resolve_user(spec, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", ImageUser(0, 0, None)),
        ("65532:65532", ImageUser(65532, 65532, None)),
        ("7", ImageUser(7, 0, None)),
    ],
)
def test_an_image_without_the_files_takes_numbers(spec: str, expected: ImageUser) -> None:
    assert resolve_user(spec, None, None) == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nobody", "user 'nobody' is not in its /etc/passwd"),
        ("broken", "user 'broken' is not in its /etc/passwd"),
        ("huge", "user 'huge' is not in"),
        ("app:nobody", "group 'nobody' is not in its /etc/group"),
        ("app:broken", "group 'broken' is not in"),
        ("app:odd", "group 'odd' is not in"),
        ("app:1:2", "group '1:2' is not in"),
        ("-1", "user '-1' is not an id; ids are 0 to 2147483647"),
        ("2147483648", "user '2147483648' is not an id"),
        ("0:-5", "group '-5' is not an id"),
        ("٣", "user '٣' is not in"),  # a digit, but not an ASCII one
        ("1_0", "user '1_0' is not in"),
        ("x" * 500, "xxx…' is not in"),
    ],
)
def test_refusals_name_what_is_wrong(spec: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve_user(spec, PASSWD, GROUP)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 250


def test_lines_beyond_the_limit_are_not_read() -> None:
    far = b"# padding\n" * 120_000 + b"late:x:5:5::/:\n"
    with pytest.raises(InvalidInput):
        resolve_user("late", far, None)


def _resolved(spec: str, passwd: bytes, group: bytes) -> ImageUser | None:
    try:
        return resolve_user(spec, passwd, group)
    except InvalidInput:
        return None


@given(st.text(max_size=30), st.binary(max_size=300), st.binary(max_size=300))
def test_nothing_raises_anything_else(spec: str, passwd: bytes, group: bytes) -> None:
    user = _resolved(spec, passwd, group) or ImageUser(0, 0, None)
    assert 0 <= user.uid < 2**31
    assert 0 <= user.gid < 2**31
    assert user.home is None or user.home.startswith("/")


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.binary(max_size=300))
def test_two_numbers_are_always_just_those(uid: int, gid: int, passwd: bytes) -> None:
    user = resolve_user(f"{uid}:{gid}", passwd, None)
    assert (user.uid, user.gid) == (uid, gid)
