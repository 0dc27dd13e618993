"""The agent's process is the same as under `podman run`, except for deliberate differences.

One image per row, each a small change to the same glibc image. The process itself is inspected: its identity,
capabilities, environment, limits, signals and working directory.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.folder import SessionFolder
from stromboli.grammar import reference
from stromboli.inspection import passwd
from stromboli.models.claude import ClaudeOptions
from stromboli.plan import container
from stromboli.plan.attempt import Hook, quote, render
from stromboli.plan.container import Identity, Place
from stromboli.plan.request import Request
from stromboli.podman import Podman
from tests.support.podman import IsolatedPodman
from tests.support.supervised import plan

# One line for this process, another for its child in a shell.
DUMP = """\
import json, os, subprocess, sys
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
wanted = "Umask SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb Seccomp".split()
environ = open("/proc/self/environ", "rb").read().split(b"\\0")
print(json.dumps({
    "environ": sorted(entry.decode("latin-1") for entry in environ if entry),
    "ids": [os.getresuid(), os.getresgid()],
    "groups": sorted({os.getgid(), *os.getgroups()}),
    "home": os.access(os.environ["HOME"], os.W_OK),
    "status": {name: status[name].strip() for name in wanted},
    "limits": open("/proc/self/limits").read(),
    "oom": open("/proc/self/oom_score_adj").read(),
    "cwd": os.getcwd(),
    "nice": os.nice(0),
}), flush=True)
if sys.argv[1:]:
    given = dict(entry.split(b"=", 1) for entry in environ if entry)  # Python sets LC_CTYPE
    subprocess.run(["/bin/sh", "-c", sys.argv[1]], check=True, env=given)
"""
ALONE = ("/usr/bin/python3", "-I", "-S", "-c", DUMP)
IN_A_SHELL = "exec " + " ".join(map(quote, ALONE))
PROGRAM = (*ALONE, IN_A_SHELL)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n"
GROUP = "root:x:0:\nadm:x:4:root,web\nagent:x:1000:\nweb:x:33:\nextra:x:4242:agent\nmore:x:4343:web,agent\nbroken:x\n"
SHELLS = ("IFS", "PS1", "PS2", "PS4", "LINENO", "RANDOM", "PPID", "HISTFILE", "MAIL", "FUNCNAME")
IMAGES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "user": ("USER agent",),
    "user-and-group": ("USER agent:extra",),
    "uid": ("USER 1000",),
    "uid-and-gid": ("USER 1000:4242",),
    "uid-without-a-line": ("USER 4711",),
    "root-with-a-group": ("USER root:extra",),
    "member-of-many": ("USER web",),
    "dots-and-dashes": ("ENV spring.profiles.active=prod", "ENV A-B=c=d", "ENV 1ST=x", "ENV a%%=y", "USER agent"),
    "awkward-values": ("ENV EMPTY=", "ENV SPACES='  a  b '", 'ENV QUOTES="$HOME"', "ENV UMLAUT=ü🦊", "ENV TILDE=~"),
    "names-of-the-shells": tuple(f"ENV {name}=:{name}:" for name in SHELLS),
    "places-of-the-shells": ("ENV PWD=/srv", "ENV OLDPWD=/tmp", "ENV SHLVL=7", "WORKDIR /srv"),
    "common": ("ENV LANG=de_DE.UTF-8", "ENV LC_ALL=C", "ENV LD_LIBRARY_PATH=/opt/lib", "ENV PYTHONPATH=/srv"),
    "stop-signal-quit": ("STOPSIGNAL QUIT",),
    "stop-signal-rtmin": ("STOPSIGNAL RTMIN", "USER agent"),
    "workdir": ("WORKDIR /srv/app",),
    "workdir-of-nobody": ("WORKDIR /srv/app", "USER 4711"),
    "podmans-own": ("ENV TERM=dumb", "ENV container=other", "ENV HOSTNAME=mine", "ENV HOME=/srv", "ENV PATH=/usr/bin"),
    "large": ("ENV LARGE=" + "x" * 6_000, "ENV a.b=" + "y" * 6_000),
    "command": ('ENTRYPOINT ["/bin/false"]', 'CMD ["x"]', "VOLUME /data"),
}


Process = dict[str, Any]


@pytest.fixture(scope="module")
def base(isolated_podman: IsolatedPodman, glibc_image: str) -> Iterator[str]:
    """A container of the glibc image with users and groups, from which the images are committed."""
    name = "process-base"
    script = (
        f"printf '{PASSWD}' >/etc/passwd; printf '{GROUP}' >/etc/group; mkdir -p /srv/app /home/agent; "
        "chown 1000:1000 /home/agent; chmod 777 /srv; "
        "/usr/bin/python3 -I -S -c 'import json, subprocess'"  # they stay compiled
    ).replace("\n", "\\n")
    isolated_podman.run("run", "--name", name, "--network=none", glibc_image, "/bin/sh", "-c", script)
    yield name
    isolated_podman.run("rm", name)


async def _supervised(podman: Podman, name: str, root: Path) -> tuple[str, str]:
    """The program's output when run as the CLI, and as a hook."""
    uid = str(uuid.uuid4())
    busybox.install(root / "home")
    folder = SessionFolder(root / "home", root / "run", uid)
    image = await podman.images.inspect(name)
    assert image is not None
    user = passwd.resolve_user(image.user, PASSWD.encode(), GROUP.encode())
    owner = (user.uid, user.gid)
    what = plan(*PROGRAM, workdir=image.workdir or None, hooks=(Hook("postStart", 0, IN_A_SHELL),))
    folder.point("attempt", folder.prepare_attempt(uid, 1, render(what), owner))
    folder.write_secrets({}, None, owner)
    place = Place(str(folder.link("attempt")), str(folder.link("secret")), None, None, naming.volume(uid), None)
    wanted = Request(
        image=reference.parse(name),
        workdir=None,
        volumes=(),
        env={},
        claude=ClaudeOptions(),
        memory=None,
        cpus=None,
        cpu_shares=None,
        pids=512,
        timeout=60.0,
        gateway_socket=None,
        hooks=(),
        hooks_timeout=None,
    )
    body = container.body(
        wanted,
        name=naming.agent(uid).name,
        image_id=image.id,
        identity=Identity(user.uid, user.gid, user.groups),
        place=place,
        volumes=(),
        labels={"contract": uid},
        longest=60.0,
    )
    made = await podman.containers.create(body)
    try:
        await podman.containers.start(made)
        assert await asyncio.wait_for(podman.containers.wait(made), 30) == 0
    finally:
        await podman.containers.remove(made)
        await podman.volumes.remove(naming.volume(uid))
    out = folder.attempt(uid, 1) / "out"
    return (out / "stdout").read_text(), (out / "postStart.0").read_text()


def _processes(printed: str) -> list[Process]:
    """Without what differs between containers, and our deliberate changes: our own variables, a writable home."""
    found = [json.loads(line) for line in printed.splitlines()]
    for process in found:
        environ = dict(entry.split("=", 1) for entry in process["environ"])
        if len(environ.get("HOSTNAME", "")) == 12:  # the container's id
            del environ["HOSTNAME"]
        for name in ("CLAUDE_CONFIG_DIR", "STROMBOLI_ENV", "STROMBOLI_PATH"):
            environ.pop(name, None)
        if not process.pop("home") or environ["HOME"] == f"{naming.SESSION}/home":
            del environ["HOME"]
        process["environ"] = environ
    return found


@pytest.mark.parametrize("row", IMAGES)
async def test_a_step_is_a_process_as_podman_run_makes_it(
    row: str, isolated_podman: IsolatedPodman, base: str, podman: Podman, tmp_path: Path
) -> None:
    image = f"localhost/stromboli-test/process:{row}"
    await podman.copies.commit(base, image, IMAGES[row])
    try:
        run = ("run", "--rm", "--network=none", "--entrypoint", json.dumps([PROGRAM[0]]), image, *PROGRAM[1:])
        bare, shell = _processes(isolated_podman.run(*run))
        printed, hooked = await _supervised(podman, image, tmp_path)
    finally:
        await podman.copies.remove(image)
    agent, *_ = _processes(printed)
    [hook] = _processes(hooked)
    assert hook == shell
    # A shell starts every background job like this; the CLI and its children reset it themselves (2.1.332).
    for mask in ("SigIgn", "SigCgt"):
        agent["status"][mask] = bare["status"][mask]
    assert agent == bare
