"""Fields of create bodies that services use, as the real Podman takes them: together with an image that says much."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import PodmanError
from tests.contract.conftest import Bed
from tests.support.podman import IsolatedPodman

LIMIT = 30.0
LOG = {"driver": "k8s-file", "size": 64 * 1024}
SH = ["/bin/sh", "-c"]
EFFECTIVE = 'while read a b; do case $a in CapEff:|NoNewPrivs:) echo "$b";; esac; done < /proc/self/status'


@pytest.fixture
def telling_image(isolated_podman: IsolatedPodman, busybox_only_image: str, tmp_path: Path) -> str:
    """An image with an entrypoint, a command, variables, a user's folder and files in it."""
    name = "localhost/stromboli-test/telling:1"
    (tmp_path / "seed").write_text("seed")
    lines = [
        f"FROM {busybox_only_image}",
        "ENV A=image B=image",
        "COPY --chown=999:998 seed /var/lib/data/seed",
        'RUN ["/bin/busybox", "chown", "999:998", "/var/lib/data"]',
        'RUN ["/bin/busybox", "chmod", "0700", "/var/lib/data"]',
        "VOLUME /var/lib/data",
        'ENTRYPOINT ["echo", "entry"]',
        'CMD ["echo", "command"]',
    ]
    (tmp_path / "Containerfile").write_text("\n".join(lines))
    build = ["build", "--quiet", "--format", "docker", "--tag", name]
    isolated_podman.run(*build, "--file", str(tmp_path / "Containerfile"), str(tmp_path))
    return name


async def said(bed: Bed, image: str, **fields: Any) -> str:
    """What a container writes that is created with these fields."""
    body = {"image": image, "name": bed.name(), "labels": bed.mark, "netns": {"nsmode": "none"}} | fields
    container = await bed.podman.containers.create(body | {"log_configuration": LOG})
    await bed.podman.containers.start(container)
    await asyncio.wait_for(bed.podman.containers.wait(container), LIMIT)
    return await bed.podman.logs.tail(container, 1000, 64 * 1024)


@pytest.mark.parametrize(
    ("fields", "wrote"),
    [
        ({}, "entry echo command"),
        ({"entrypoint": None, "command": ["own"]}, "entry own"),
        ({"command": []}, "entry echo command"),
        ({"entrypoint": []}, "command"),
        ({"entrypoint": [], "command": ["echo", "own"]}, "own"),
        ({"entrypoint": ["echo", "mine"]}, "mine"),
        ({"entrypoint": ["echo", "mine"], "command": ["own"]}, "mine own"),
    ],
    ids=str,
)
async def test_entrypoint_and_command_are_combined_as_docker_does(
    real: Bed, telling_image: str, fields: dict[str, Any], wrote: str
) -> None:
    assert await said(real, telling_image, **fields) == f"{wrote}\n"


@pytest.mark.parametrize(
    ("fields", "has", "lacks"),
    [
        ({"env": {"A": "own", "C": ""}}, {"A=own", "B=image", "C="}, set()),
        ({"unsetenv": ["A"]}, {"B=image"}, {"A"}),
    ],
    ids=["env", "unsetenv"],
)
async def test_variables(real: Bed, telling_image: str, fields: dict[str, Any], has: set[str], lacks: set[str]) -> None:
    lines = set((await said(real, telling_image, entrypoint=["env"], command=[], **fields)).splitlines())
    assert has <= lines
    assert not lacks & {line.partition("=")[0] for line in lines}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"user": "nobody-there"}, "unable to find user nobody-there"),
        ({"work_dir": "/not/there"}, 'workdir "/not/there" does not exist'),
        ({"r_limits": [{"type": "core", "soft": 1, "hard": 0}]}, "setting rlimit"),
        ({"command": ["/nowhere"], "entrypoint": []}, "no such file"),
    ],
    ids=str,
)
async def test_what_only_a_start_finds(real: Bed, fields: dict[str, Any], problem: str) -> None:
    body = real.body("true") | fields
    for begin in (real.podman.containers.init, real.podman.containers.start):
        container = await real.podman.containers.create(body | {"name": real.name()})
        with pytest.raises(PodmanError, match=problem):
            await begin(container)
        state = await real.podman.containers.inspect(container)
        assert state is not None
        assert not state.alive


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"cap_add": ["NOPE"]}, "unknown capability"),
        ({"volumes": [{"Name": "contract-none", "Dest": "/v", "Options": ["cached"]}]}, "invalid mount option"),
        ({"volumes": [{"Name": "contract-none", "Dest": "/v", "Options": ["volume-nocopy"]}]}, "invalid mount option"),
        ({"mounts": [{"type": "tmpfs", "destination": "/t", "options": ["uid=5"]}]}, "invalid mount option"),
        (
            {"mounts": [{"type": "bind", "source": "/nowhere/at/all", "destination": "/t", "options": ["rbind"]}]},
            "no such file or directory",
        ),
        ({"r_limits": [{"type": "memlock", "soft": -1, "hard": -1}]}, "cannot unmarshal number -1"),
    ],
    ids=str,
)
async def test_what_a_create_finds(real: Bed, fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(PodmanError, match=problem):
        await real.podman.containers.create(real.body("true", **fields))
    await real.podman.volumes.remove("contract-none")


async def test_ulimits_are_those_of_the_body_if_both_that_podman_sets_are_there(real: Bed) -> None:
    given = [{"type": "nofile", "soft": 1000, "hard": 2000}, {"type": "nproc", "soft": 400, "hard": 500}]
    show = "ulimit -Sn; ulimit -Hn"
    assert await said(real, real.image, entrypoint=SH, command=[show], r_limits=given) == "1000\n2000\n"


@pytest.mark.parametrize(
    ("fields", "wrote"),
    [
        ({"cap_drop": ["ALL"], "cap_add": ["CHOWN", "CAP_KILL"]}, "0000000000000021\n0\n"),
        ({"cap_drop": ["ALL"], "no_new_privileges": True}, "0000000000000000\n1\n"),
        # Unlike Docker's, a capability that is added is in effect for a user other than root.
        ({"cap_add": ["NET_RAW"], "user": "7:7"}, "0000000000002000\n0\n"),
    ],
    ids=str,
)
async def test_capabilities(real: Bed, fields: dict[str, Any], wrote: str) -> None:
    assert await said(real, real.image, entrypoint=SH, command=[EFFECTIVE], **fields) == wrote


async def test_a_read_only_root_has_no_place_to_write_but_volumes_and_tmpfs(real: Bed) -> None:
    name = real.name()
    await real.podman.volumes.create(name, real.mark)
    wrote = await said(
        real,
        real.image,
        entrypoint=SH,
        command=["for place in / /tmp /run /v /t; do (: > $place/x) 2>/dev/null && echo $place; done; ls -ld /t"],
        read_only_filesystem=True,
        volumes=[{"Name": name, "Dest": "/v"}],
        mounts=[{"type": "tmpfs", "destination": "/t", "options": ["size=1048576", "mode=0711"]}],
    )
    assert wrote.splitlines()[:2] == ["/v", "/t"]
    assert wrote.splitlines()[2].startswith("drwx--x--x")


@pytest.mark.parametrize(("options", "files"), [([], ["seed"]), (["ro"], ["seed"]), (["nocopy"], [])], ids=str)
async def test_a_new_volume_is_filled_from_the_image_and_owned_as_its_folder(
    real: Bed, telling_image: str, options: list[str], files: list[str]
) -> None:
    name = real.name()
    made = await real.podman.volumes.create(name, real.mark)
    body = {
        "image": telling_image,
        "volumes": [{"Name": name, "Dest": "/var/lib/data", "Options": options}],
        "image_volume_mode": "ignore",
    }
    container = await real.podman.containers.create(real.body("true") | body)
    await real.podman.containers.start(container)
    await asyncio.wait_for(real.podman.containers.wait(container), LIMIT)
    found = await real.podman.containers.detail(container)
    assert found is not None
    assert [(mount.name, mount.destination) for mount in found.mounts] == [(name, "/var/lib/data")]
    folder = Path(made.mountpoint)
    assert [path.name for path in folder.iterdir()] == files
    assert (folder.stat().st_uid, folder.stat().st_gid, folder.stat().st_mode & 0o777) == (999, 998, 0o700)


async def test_an_image_s_volume_that_is_ignored_is_not_even_a_folder(
    real: Bed, busybox_only_image: str, isolated_podman: IsolatedPodman, tmp_path: Path
) -> None:
    (tmp_path / "Containerfile").write_text(f"FROM {busybox_only_image}\nVOLUME /kept\n")
    name = "localhost/stromboli-test/volume:1"
    isolated_podman.run("build", "--quiet", "--tag", name, str(tmp_path))
    show = {"entrypoint": SH, "command": ["[ -d /kept ] && echo there || echo none"]}
    assert await said(real, name, image_volume_mode="ignore", **show) == "none\n"
    assert await said(real, name, **show) == "there\n"
