"""Error messages of OCI runtimes, observed or from their source, are classified. tests/contract uses a real one."""

from __future__ import annotations

import json

import pytest

from stromboli.errors import PodmanError, TooLittleMemory, Unmountable, Unstartable
from stromboli.podman import failures

RUNC = "runc: runc create failed: unable to start container process: error during container init: "
END = ": OCI runtime error"
PLACE = '/graph/overlay/abc/merged/bin"x'


def _error(message: str) -> Exception:
    body = json.dumps({"cause": "OCI runtime error", "message": message, "response": 500}).encode()
    return failures.refusal(500, body, "POST /start")


@pytest.mark.parametrize(
    ("message", "target", "why"),
    [
        (
            f'{RUNC}error mounting "/h/d" to rootfs at "/bin/x": mount /h/d:/bin/x (via /proc/self/fd/6), flags: '
            f"0x5006: not a directory{END}",
            "/bin/x",
            "not a directory",
        ),
        (
            f'{RUNC}error mounting "/h" to rootfs at "/w\\n\\"x": mkdir {PLACE}: read-only file system{END}',
            '/w\n"x',
            "",
        ),
        (f'{RUNC}error mounting "/h" to rootfs at "/\\x07": lstat {PLACE}: file name too long{END}', "/\\x07", ""),
        (f"crun: mount `/h/d` to `bin/x`: Not a directory{END}", "/bin/x", "not a directory"),
        (f"crun: mount `/h/d` to `/bin/x`: Is a directory{END}", "/bin/x", "is a directory"),
    ],
)
def test_what_cannot_be_mounted(message: str, target: str, why: str) -> None:
    error = _error(message)
    assert isinstance(error, Unmountable)
    assert error.target == target
    assert error.why == why or not why


@pytest.mark.parametrize(
    "message",
    [
        f"{RUNC}error setting cgroup config for procHooks process: unable to set memory limit to 1048576 (current "
        f"usage: 2375680, peak usage: 2744320){END}",
        "runc: runc create failed: unable to start container process: container init was OOM-killed (memory limit "
        f"too low?){END}",
    ],
)
def test_memory_that_is_not_enough(message: str) -> None:
    assert isinstance(_error(message), TooLittleMemory)


NOT_FOUND = ": OCI runtime attempted to invoke a command that was not found"


@pytest.mark.parametrize(
    "message",
    [
        f'runc: runc create failed: unable to start container process: exec: "x": executable file not found{NOT_FOUND}',
        f"crun: executable file `x` not found in $PATH: No such file or directory{NOT_FOUND}",
        "crun: open executable: Permission denied: OCI permission denied",
        "unable to find user x: no matching entries in passwd file",
        "unable to find group x: no matching entries in group file",
        'workdir "/a b/\nc" does not exist on container 24cc961937b5a79d712163a1c30275c9d2042b2dc3daddf1',
        "cannot listen on the TCP port: listen tcp4 127.0.0.1:5432: bind: address already in use",
        "rootlessport listen tcp 198.51.100.7:80: bind: cannot assign requested address",
        "rootlessport cannot expose privileged port 80, …: listen tcp 0.0.0.0:80: bind: permission denied\n",
        "failed to mount runtime directory for rootless netns: no such file or directory",
        '/usr/bin/slirp4netns failed: "open(\\"/dev/net/tun\\"): Permission denied\\nchild failed(1)\\n"',
    ],
)
def test_what_can_never_be_started(message: str) -> None:
    assert type(_error(message)) is Unstartable


@pytest.mark.parametrize(
    "message",
    [
        "netavark: IO error: aardvark-dns failed to start: address already in use",
        '/usr/bin/slirp4netns failed: "ioctl(TUNSETIFF): Device or resource busy"',
        "unable to find user x: no matching entries in passwd file, or so somebody says",
        f'{RUNC}error mounting "/h" to rootfs at "/w": mount /h:/w: no such file or directory{END}',
        f'{RUNC}error mounting "/h" to rootfs at "/w": mount /h:/w: permission denied{END}',
        f"{RUNC}error setting rlimits for ready process: error setting rlimit type 7: operation not permitted{END}",
        f"a person's text: not a directory{END}",
        'error mounting "/h" to rootfs at "/w": not a directory, or so somebody says',
    ],
)
def test_whatever_else_is_the_nodes_trouble(message: str) -> None:
    assert type(_error(message)) is PodmanError
