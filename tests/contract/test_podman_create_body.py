"""The create body of a run, checked by the resulting container, because Podman ignores unknown fields."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from stromboli import naming
from stromboli.grammar import reference
from stromboli.models.claude import ClaudeOptions
from stromboli.plan import container
from stromboli.plan.container import Identity, Place
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume
from tests.contract.conftest import Bed
from tests.support.podman import BUSYBOX, IsolatedPodman

LIMIT = 20.0
UID, GID = 1000, 1000
# Print what a supervisor would see to the place where a supervisor writes.
SUPERVISOR = """\
cd /run/stromboli/out && cat /proc/self/status > status && env > env && id > id && ls /opt/claude > cli
cat /proc/net/dev > net
(echo x > /run/stromboli/plan/x) 2>/dev/null && echo writable > plan
(echo x > /opt/claude/x) 2>/dev/null && echo writable > cli-written
(echo x > /mnt/ro/x) 2>/dev/null && echo writable > ro
(echo x > /mnt/rw/x) 2>/dev/null && echo writable > rw
(echo x > /run/stromboli/session/x) 2>/dev/null && echo writable > session
(read -r secret < /run/stromboli/handed && echo "$secret" > secret)
(echo x > /run/stromboli/handed) 2>/dev/null && echo writable > handed
mkdir -p /dev/shm/.stromboli && echo writable > own-secret
grep ' /dev/shm ' /proc/self/mounts > shm
grep ' /run/stromboli/secret ' /proc/self/mounts > secret-files
(umask 377; echo x > /run/stromboli/secret/x) && stat -c '%a %u %g' /run/stromboli/secret/x > secret-file
(stat -c %a /run/stromboli/secret; ls -A /run/stromboli/secret) > secret-folder
(echo x > /dev/sda) 2>/dev/null && echo writable > device
true
"""


@pytest.fixture
def attempt(tmp_path: Path) -> Path:
    """The folders of one attempt, accessible to the container's user."""
    for folder in ("attempt/plan/managed", "attempt/out", "cli/bin", "ro", "rw"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secret").write_text("opened\n")
    for folder in ("attempt/out", "secret", "rw", "ro"):
        shutil.chown(tmp_path / folder, UID, GID)
    shutil.copy(BUSYBOX, tmp_path / "attempt/plan/busybox")
    (tmp_path / "attempt/plan/supervisor").write_text(SUPERVISOR)
    (tmp_path / "cli/bin/claude").touch()
    return tmp_path


@pytest.fixture
def demanding_image(isolated_podman: IsolatedPodman, busybox_only_image: str, tmp_path: Path) -> str:
    """An image that requests what a run must not get: an anonymous volume, a health check, another entrypoint."""
    name = "localhost/stromboli-test/demanding:1"
    lines = [f"FROM {busybox_only_image}", "VOLUME /anonymous", "HEALTHCHECK CMD true", 'ENTRYPOINT ["/bin/false"]']
    lines.append("STOPSIGNAL QUIT")
    lines.append("RUN mkdir -p /run/stromboli/secret && echo x > /run/stromboli/secret/of-the-image")
    (tmp_path / "Containerfile").write_text("\n".join(lines))
    build = ["build", "--quiet", "--format", "docker", "--isolation", "chroot", "--tag", name]
    isolated_podman.run(*build, "--file", str(tmp_path / "Containerfile"), str(tmp_path))
    return name


@pytest.fixture
def proxied_service(isolated_podman: IsolatedPodman) -> Iterator[None]:
    """A Podman service with proxy variables in its environment, which it would pass on to containers."""
    isolated_podman.kill_service()
    isolated_podman.env["HTTP_PROXY"] = "http://user:word@proxy.invalid:3128"
    isolated_podman.start_service()
    yield
    isolated_podman.kill_service()
    del isolated_podman.env["HTTP_PROXY"]
    isolated_podman.start_service()


@pytest.mark.usefixtures("proxied_service")
async def test_a_run_s_body_takes_effect(real: Bed, podman_socket: Path, attempt: Path, demanding_image: str) -> None:
    image = await real.podman.images.inspect(demanding_image)
    assert image is not None
    name = real.name()
    await real.podman.volumes.create(name, real.mark)
    body = _body(name, image.id, attempt, real.mark)
    created = await real.podman.containers.create(body)
    await real.podman.containers.start(created)
    assert await asyncio.wait_for(real.podman.containers.wait(created), LIMIT) == 0
    seen = {file.name: file.read_text() for file in (attempt / "attempt/out").iterdir()}
    found = await _inspect(podman_socket, created)
    host, config = found["HostConfig"], found["Config"]

    # its identity
    assert (found["Name"], found["Image"], config["Labels"]["contract"]) == (name, image.id, real.mark["contract"])
    assert [found["Path"], *found["Args"]] == container.ENTRYPOINT
    assert seen["id"].startswith(f"uid={UID} gid={GID}")
    assert set(seen["id"].split()[-1].removeprefix("groups=").split(",")) == {"1000", "33", "4242"}
    assert config["StopSignal"] in (15, "SIGTERM")
    # its privileges
    status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert int(status["CapEff"], 16) == 0, "an unprivileged user has no capability"
    assert int(status["CapBnd"], 16) == 0xA80425FB or int(status["CapBnd"], 16) == 0x800405FB  # Podman 4's, 5's default
    assert (host["Privileged"], host["CapAdd"], host["Devices"]) == (False, [], [])
    assert (host["PidMode"], host["UTSMode"], host["NetworkMode"]) == ("private", "private", "none")
    assert [line.split(":")[0].strip() for line in seen["net"].splitlines()[2:]] == ["lo"]
    # its resources
    assert (host["Memory"], host["MemorySwap"]) == (64 << 20, 64 << 20)
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpuShares"]) == (50_000, 100_000, 300)
    assert host["PidsLimit"] == 55
    # what it can see
    assert seen["cli"].split() == ["bin"]
    assert seen["secret"] == "opened\n"
    written = sorted(file for file in seen if seen[file] == "writable\n")
    assert written == ["own-secret", "rw", "session"]
    assert "size=64000k" in seen["shm"]
    assert seen["secret-files"].startswith("tmpfs /run/stromboli/secret tmpfs rw,")
    assert {"nosuid", "nodev", "noexec", "size=2048k"} <= set(seen["secret-files"].split()[3].split(","))
    assert seen["secret-folder"].split() == ["1777", "x"], "nothing of the image is there, not even its mode"
    assert seen["secret-file"] == f"400 {UID} {GID}\n"
    assert {m["Destination"]: (m["Type"], m["RW"]) for m in found["Mounts"]} == {
        naming.PLAN: ("bind", False),
        naming.OUT: ("bind", True),
        naming.HANDED: ("bind", False),
        naming.CLI_MOUNT: ("bind", False),
        naming.MANAGED: ("bind", False),
        naming.SESSION: ("volume", True),
        "/mnt/ro": ("bind", False),
        "/mnt/rw": ("bind", True),
    }
    assert "PROXY" not in seen["env"].upper()
    # no background activity, except for the end of the container
    assert config["Healthcheck"] == {"Test": ["NONE"]}
    assert host["LogConfig"]["Type"] == "none"
    assert (host["RestartPolicy"]["Name"], host["AutoRemove"]) == ("no", False)
    assert config["Timeout"] == 60 + container.BACKSTOP_MARGIN


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"env": {"A": "b c"}}, lambda found: "A=b c" in found["Config"]["Env"]),
        ({"work_dir": "/tmp"}, lambda found: found["Config"]["WorkingDir"] == "/tmp"),
        ({"stop_signal": 9}, lambda found: found["Config"]["StopSignal"] in (9, "SIGKILL")),
        ({"stop_timeout": 3}, lambda found: found["Config"]["StopTimeout"] == 3),
        ({"timeout": 7}, lambda found: found["Config"]["Timeout"] == 7),
        ({"no_such_field": 7}, lambda found: "no_such_field" not in str(found)),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_field_takes_effect(real: Bed, podman_socket: Path, field: dict[str, object], expected: Any) -> None:
    created = await real.podman.containers.create(real.body("true", **field))
    assert expected(await _inspect(podman_socket, created))


async def test_the_container_s_own_timeout_ends_it(real: Bed) -> None:
    created = await real.run("sleep", "60", timeout=1)
    # how conmon 4.3.1 reports a timeout; a caller must not take it for "still running"
    assert await asyncio.wait_for(real.podman.containers.wait(created), LIMIT) == -1
    state = await real.podman.containers.inspect(created)
    assert state is not None
    assert (state.status, state.exit_code) == ("exited", -1)


async def test_a_bind_through_a_link_is_resolved_at_each_start(real: Bed, tmp_path: Path) -> None:
    for folder, word in (("one", "first"), ("two", "second")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "word").write_text(word)
    (tmp_path / "now").symlink_to("one")
    (tmp_path / "out").mkdir()
    mounts = [
        {"type": "bind", "source": str(tmp_path / "now"), "destination": "/now", "options": ["ro", "rbind"]},
        {"type": "bind", "source": str(tmp_path / "out"), "destination": "/out", "options": ["rw", "rbind"]},
    ]
    created = await real.run("sh", "-c", "cat /now/word >> /out/words", mounts=mounts)
    await asyncio.wait_for(real.podman.containers.wait(created), LIMIT)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(tmp_path / "now")
    await real.podman.containers.start(created)
    await asyncio.wait_for(real.podman.containers.wait(created), LIMIT)
    assert (tmp_path / "out/words").read_text() == "firstsecond"


def _body(name: str, image_id: str, attempt: Path, labels: dict[str, str]) -> container.Body:
    request = Request(
        image=reference.parse("localhost/stromboli-test/demanding:1"),
        workdir=None,
        volumes=(),
        env={"NOT": "in the body"},
        claude=ClaudeOptions(),
        memory=64 << 20,
        cpus=500,
        cpu_shares=300,
        pids=55,
        timeout=60.0,
        gateway_socket=None,
        hooks=(),
        hooks_timeout=None,
    )
    place = Place(str(attempt / "attempt"), str(attempt / "secret"), str(attempt / "cli"), None, name, None)
    volumes = (
        Volume(host=str(attempt / "ro"), container="/mnt/ro", read_only=True),
        Volume(host=str(attempt / "rw"), container="/mnt/rw", read_only=False),
    )
    return container.body(
        request,
        name=name,
        image_id=image_id,
        identity=Identity(UID, GID, (33, 4242)),
        place=place,
        volumes=volumes,
        labels=labels,
        longest=request.timeout,
    )


async def _inspect(socket: Path, name: str) -> dict[str, Any]:
    """Podman's complete answer; our own client reads only a part of it."""
    transport = httpx.AsyncHTTPTransport(uds=str(socket), verify=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://podman") as client:
        response = await client.get(f"/v4.0.0/libpod/containers/{name}/json")
        found: dict[str, Any] = response.raise_for_status().json()
        return found
