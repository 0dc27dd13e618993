"""The bodies of a stack's containers, checked by the resulting containers, because Podman ignores unknown fields."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.compose import stack
from stromboli.compose.stack import Anonymous, Bind, Capability, ExtraHost, ImageMount, Named, Service, Tmpfs, Ulimit
from stromboli.node.stacks import host
from stromboli.plan import container
from stromboli.plan.container import Identity, Place
from stromboli.plan.limits import Limits
from stromboli.plan.request import build
from stromboli.plan.stack import agent, body, definitions, mounts, names, supervision
from stromboli.plan.stack.body import Resolved
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.limits import resources
from stromboli.plan.stack.mounts import Found
from stromboli.plan.stack.networking import networking
from stromboli.plan.stack.ports import listening
from stromboli.podman.failures import answer
from tests.contract.conftest import Bed
from tests.support import lookups
from tests.support.builders import effective, policy, spec
from tests.support.podman import BUSYBOX, IsolatedPodman

LIMIT = 30.0
NODE = {"nofile": 1024, "nproc": 4096}
# What a service sees, written to where its folder of the node is.
LOOK = """\
pwd -P > /out/pwd; cd /out; env > env; id > id; cat /proc/self/status > status; cat /proc/self/mounts > mounts
ulimit -n > nofile; ls /data > data; ls /kept > kept; ls /tools/bin > tools; hostname > hostname; cat /etc/hosts > hosts
echo "$0 $*" > argv
for place in / /ro /data /cache /tmp; do (echo x > $place/x) 2>/dev/null && echo $place; done > written
true
"""


@pytest.fixture
def image(isolated_podman: IsolatedPodman, busybox_only_image: str, tmp_path: Path) -> str:
    """An image with all that a service inherits, and files in its volumes."""
    name = "localhost/stromboli-test/serving:1"
    (tmp_path / "file").write_text("x")
    lines = [
        f"FROM {busybox_only_image}",
        "ENV KEPT=image GONE=image CHANGED=image",
        "COPY file /data/first",
        "COPY file /kept/first",
        "COPY file /work/first",
        "VOLUME /data /kept",
        'ENTRYPOINT ["/bin/busybox", "false"]',
        'CMD ["never"]',
        "STOPSIGNAL QUIT",
        "WORKDIR /work",
        "HEALTHCHECK CMD true",
    ]
    (tmp_path / "Containerfile").write_text("\n".join(lines))
    options = ["build", "--quiet", "--format", "docker", "--isolation", "chroot", "--tag", name]
    isolated_podman.run(*options, "--file", str(tmp_path / "Containerfile"), str(tmp_path))
    return name


async def inspected(bed: Bed, created: str) -> dict[str, Any]:
    response = await bed.podman._connection.request("GET", f"/containers/{created}/json")
    found: dict[str, Any] = answer(response.content)
    return found


async def described(bed: Bed, name: str) -> Image:
    found = await bed.podman.images.inspect(name)
    assert found is not None
    env = dict(entry.partition("=")[::2] for entry in found.env)
    return Image(
        found.id, found.user, env, found.entrypoint, found.cmd, found.workdir, found.stop_signal, found.volumes
    )


async def test_a_service_s_body_takes_effect(real: Bed, image: str, tmp_path: Path) -> None:
    uid = str(uuid.uuid4())
    (tmp_path / "out").mkdir()
    (tmp_path / "ro").mkdir()
    serving = await described(real, image)
    service = Service(
        "db",
        environment={"CHANGED": "file", "ADDED": "a b"},
        unset=frozenset({"GONE"}),
        entrypoint=("/bin/busybox", "sh", "-c"),
        command=(LOOK, "zero", "one two"),
        mounts=(
            Bind("m", "/file/out", "/out"),
            Bind("m", "/file/ro", "/ro", read_only=True),
            Named("m", "data", "/data"),
            Anonymous("m", "/cache", read_only=True),
            Tmpfs("m", "/tmp", size=1 << 20, mode=0o1777),
            ImageMount("m", "tools", "/tools"),
        ),
        hostname="My_Host",
        networks={"back": stack.Attachment("n", ("pg",))},
        extra_hosts=(ExtraHost("e", "far", "192.0.2.7"),),
        cap_drop=(Capability("c", "ALL"),),
        cap_add=(Capability("c", "CHOWN"), Capability("c", "DAC_OVERRIDE")),
        ulimits={"nofile": Ulimit(512, 600)},
        limits=stack.Limits(memory=64 << 20, memory_reservation=32 << 20, cpus=500, pids=55, shm_size=1 << 20),
        read_only=True,
        init=True,
        labels={"team": "a"},
        stop_signal="SIGUSR1",
        stop_grace_period=2.5,
    )
    found = Found({"/file/out": str(tmp_path / "out"), "/file/ro": str(tmp_path / "ro")}, {"tools": serving.id}, {})
    resolved = Resolved(
        service,
        serving,
        mounts.resolve(uid, service, serving.volumes, found),
        networking(uid, {"db": service}, publish=False, node="").services["db"],
        resources(service, Limits()),
        supervision.of(service, serving, one_shot=False),
        NODE,
    )
    network = names.network(uid, "back")
    await real.podman.networks.create(network, real.mark, dns=True)
    wanted = body.body(resolved, name=names.container(uid, "db").name, labels=real.mark)
    for volume in wanted["volumes"]:
        await real.podman.volumes.create(volume["Name"], real.mark)
    created = await real.podman.containers.create(wanted)
    await real.podman.containers.start(created)
    assert await asyncio.wait_for(real.podman.containers.wait(created), LIMIT) == 0
    seen = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}

    env = dict(line.partition("=")[::2] for line in seen["env"].splitlines())
    assert (env["KEPT"], env["CHANGED"], env["ADDED"]) == ("image", "file", "a b")
    assert "GONE" not in env
    assert seen["argv"] == "zero one two\n"
    assert (seen["pwd"], seen["hostname"]) == ("/work\n", "My_Host\n")
    assert "192.0.2.7\tfar" in seen["hosts"]
    assert seen["nofile"] == "512\n"
    # volumes have the image's files, and nothing else can be written
    assert (seen["data"], seen["kept"]) == ("first\n", "first\n")
    assert "busybox" in seen["tools"].split()
    assert seen["written"].split() == ["/data", "/tmp"]
    assert any(
        "tmpfs /tmp " in line and "size=1024k" in line and "noexec" not in line for line in seen["mounts"].splitlines()
    )
    status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert int(status["CapBnd"], 16) == 0b11, "CHOWN and DAC_OVERRIDE"
    shown = await inspected(real, created)
    host, config = shown["HostConfig"], shown["Config"]
    assert (host["Memory"], host["MemorySwap"], host["MemoryReservation"]) == (64 << 20, 64 << 20, 32 << 20)
    assert (host["CpuQuota"], host["PidsLimit"], host["ShmSize"], host["Init"]) == (50_000, 55, 1 << 20, True)
    assert (host["LogConfig"]["Type"], host["LogConfig"]["Size"]) == ("k8s-file", "4.194MB")
    assert (host["RestartPolicy"]["Name"], host["AutoRemove"], host["Privileged"]) == ("no", False, False)
    assert (config["StopSignal"], config["StopTimeout"], config["Healthcheck"]) == (10, 3, {"Test": ["NONE"]})
    assert config["Labels"]["team"] == "a"
    assert supervision.Supervision.from_label(config["Labels"][naming.SUPERVISION]) == resolved.supervision
    assert shown["NetworkSettings"]["Networks"][network]["Aliases"][:2] == ["db", "pg"]
    assert {mount["Destination"] for mount in shown["Mounts"] if mount["Type"] == "volume"} == {
        "/data",
        "/cache",
        "/kept",
    }


async def test_a_holder_s_namespace_is_shared_with_all_its_networks(real: Bed, image: str, tmp_path: Path) -> None:
    """And it has a name, which is its service's, with nothing in it but a program that sleeps."""
    uid = str(uuid.uuid4())
    program = tmp_path / "root"
    program.mkdir(mode=0o700)
    shutil.copy(BUSYBOX, program / "busybox")
    serve = ("/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:5432")
    services = {
        "app": Service("app", network_mode="service:db", entrypoint=("/bin/busybox", "sleep"), command=("60",)),
        "db": Service("db", entrypoint=serve, command=(), extra_hosts=(ExtraHost("e", "far", "192.0.2.7"),)),
    }
    parts = networking(uid, services, publish=False, node="")
    serving = await described(real, image)
    await real.podman.networks.create(names.network(uid, "default"), real.mark, dns=True)
    held = await real.podman.containers.create(
        body.holder(
            parts.holders["db"],
            name=names.holder(uid, "db").name,
            labels=real.mark,
            root=str(program),
            program="busybox",
        )
    )
    await real.podman.containers.start(held)
    for name, service in services.items():
        resolved = Resolved(
            service,
            serving,
            (),
            parts.services[name],
            resources(service, Limits()),
            supervision.of(service, serving, one_shot=False),
            NODE,
        )
        created = await real.podman.containers.create(
            body.body(resolved, name=names.container(uid, name).name, labels=real.mark)
        )
        await real.podman.containers.start(created)
    app = names.container(uid, "app").name
    script = "/bin/busybox nslookup db; /bin/busybox cat /etc/hosts"
    said = await lookups.answered(real.podman, app, script)
    holder = await real.podman.containers.detail(held)
    assert holder is not None
    assert holder.addresses[names.network(uid, "default")] in said
    assert "192.0.2.7\tfar" in said
    async with asyncio.timeout(LIMIT):
        while not (found := listening([await tables(real, app)])).loopback:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.05)
    assert (set(found.open), set(found.loopback)) == (set(), {5432})
    for name in services:  # a holder cannot be removed before
        await real.podman.containers.remove(names.container(uid, name).name)


async def tables(bed: Bed, created: str) -> str:
    state = await bed.podman.containers.inspect(created)
    assert state is not None
    return Path(f"/proc/{state.pid}/net/tcp").read_text()


async def test_an_agent_s_body_with_its_service_takes_effect(real: Bed, image: str, tmp_path: Path) -> None:
    uid = str(uuid.uuid4())
    for folder in ("attempt/plan/managed", "attempt/out", "app"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secret").touch()
    shutil.copy(BUSYBOX, tmp_path / "attempt/plan/busybox")
    look = "cd /app; env > env; cat /proc/self/status > status; hostname > hostname; cat /proc/mounts > mounts"
    (tmp_path / "attempt/plan/supervisor").write_text(f"export PATH=/bin; {look}\n")
    serving = await described(real, image)
    service = Service(
        "dev",
        environment={"DB": "db"},
        unset=frozenset({"GONE"}),
        mounts=(Bind("m", "/file/app", "/app"), Named("m", "data", "/data"), Tmpfs("m", "/run")),
        hostname="box",
        cap_drop=(Capability("c", "NET_BIND_SERVICE"),),
        limits=stack.Limits(memory=64 << 20),
    )
    wanted = agent.request(build(spec(), effective(policy())), None, service)
    place = Place(str(tmp_path / "attempt"), str(tmp_path / "secret"), None, None, naming.volume(uid), None)
    ordinary = container.body(
        wanted,
        name=naming.agent(uid).name,
        image_id=serving.id,
        identity=Identity(0, 0),
        place=place,
        volumes=(),
        labels=real.mark,
        longest=60,
    )
    part = agent.part(
        service,
        image=image,
        mounts=mounts.resolve(uid, service, (), Found({"/file/app": str(tmp_path / "app")}, {}, {})),
        network=networking(uid, {"dev": service}, publish=False, node="").services["dev"],
        internal={names.network(uid, "default"): False},
        ulimits=NODE,
    )
    await real.podman.networks.create(names.network(uid, "default"), real.mark, dns=True)
    whole = agent.extended(ordinary, part)
    for volume in whole["volumes"]:
        await real.podman.volumes.create(volume["Name"], real.mark)
    created = await real.podman.containers.create(whole)
    await real.podman.containers.start(created)
    assert await asyncio.wait_for(real.podman.containers.wait(created), LIMIT) == 0
    env = (tmp_path / "app/env").read_text()
    assert "DB=db" in env
    assert "GONE=" not in env
    assert (tmp_path / "app/hostname").read_text() == "box\n"
    assert "NoNewPrivs:\t1" in (tmp_path / "app/status").read_text()
    assert "tmpfs /run tmpfs" in (tmp_path / "app/mounts").read_text(), "ours are mounted over it"
    shown = await inspected(real, created)
    assert shown["HostConfig"]["Memory"] == 64 << 20
    assert list(shown["NetworkSettings"]["Networks"]) == [names.network(uid, "default")]
    assert definition(shown["Config"]["Labels"]) == dict(part.definition)


async def test_limits_of_the_node_are_such_that_podman_can_set_them(real: Bed) -> None:
    """Also without CAP_SYS_RESOURCE: Podman's own may be lower than those of whoever started it."""
    limits = body.ulimits({"memlock": Ulimit(-1, -1), "nofile": Ulimit(512, 600)}, host.hard_limits())
    created = await real.ended("true", r_limits=limits)
    assert {"memlock", "nofile", "nproc"} == {one["type"] for one in limits}
    assert (await inspected(real, created))["State"]["ExitCode"] == 0


def definition(labels: Mapping[str, str]) -> Mapping[str, str] | None:
    return definitions.from_label(labels[naming.DEFINITION])
