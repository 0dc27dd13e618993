"""Names of containers, which are asked for again while Podman's name server does not answer.

aardvark-dns 1.4 closes its sockets and reads its files whenever a container with a network starts or ends anywhere on
the machine, also under another Podman of root's. Who asks within those milliseconds (on a busy machine, tenths of a
second) is refused, and resolvers give up at once.
"""

from __future__ import annotations

import asyncio

from stromboli.podman import Podman

# What getaddrinfo(3) and busybox say of a name that was not found.
_UNKNOWN = ("not known", "Temporary failure", "No address", "bad address", "can't find")
PATTERN = "|".join(f'*"{words}"*' for words in _UNKNOWN)
"""The same as a pattern of a shell's `case`."""
TRIES, PAUSE = 20, 0.3  # seconds
LIMIT = 30.0  # seconds for one try
PING = "/bin/busybox timeout 5 /bin/busybox ping -c 1 -W 2 {} 2>&1"


def repeated(command: str) -> str:
    """A shell command that is repeated until it succeeds, since it looks a name up that is there."""
    return f"for try in $(seq {TRIES}); do {command} && break; sleep {PAUSE}; done"


async def answered(podman: Podman, container: str, command: str) -> str:
    """What a shell command says in a container with busybox, once it knows the name that it is about."""
    for _ in range(TRIES):
        executed = await podman.execs.run(container, ["/bin/busybox", "sh", "-c", command], limit=LIMIT)
        if not any(words in executed.output for words in _UNKNOWN):
            break
        await asyncio.sleep(PAUSE)
    return executed.output
