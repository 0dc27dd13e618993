"""Images and containers derived by users from a session's container inherit its labels, but belong to the users."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.attempt import busybox
from stromboli.attempt.site import Site
from stromboli.naming import ContainerKey, Role
from stromboli.node.access import Access
from stromboli.node.cleanup import Cleaner, Inventory
from stromboli.node.cli import CLIMounts
from stromboli.node.copy import Copier
from stromboli.node.images import Images, never_started
from stromboli.node.networks import Networks
from stromboli.node.serial import SessionLocks
from tests.contract.conftest import Bed
from tests.support.podman import IsolatedPodman

COMMITTED, BUILT, TAGGED, ON_TOP = (
    f"localhost/persons/{name}:1" for name in ("committed", "built", "tagged", "on-a-copy")
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "home", tmp_path / "run", str(uuid.uuid4()))
    busybox.install(made.home)
    return made


@pytest.fixture
async def persons(isolated_podman: IsolatedPodman) -> AsyncIterator[IsolatedPodman]:
    yield isolated_podman
    isolated_podman.remove_containers("persons-own", "persons-look", "persons-cli")
    isolated_podman.run("rmi", "--force", "--ignore", COMMITTED, BUILT, TAGGED, ON_TOP)


def built(podman: IsolatedPodman, base: str, name: str) -> None:
    podman.run(
        "build", "--quiet", "--isolation", "chroot", "--tag", name, "-", stdin=f"FROM {base}\nENV A=b\n".encode()
    )


async def test_images_and_containers_that_inherited_our_labels_outlive_the_session(
    real: Bed, persons: IsolatedPodman, site: Site
) -> None:
    uid = str(uuid.uuid4())
    labels = site.labels(naming.agent(uid), "team/a")
    await real.podman.volumes.create(naming.volume(uid), labels)
    await real.run("true", name=naming.agent(uid).name, labels=labels)
    await real.podman.containers.wait(naming.agent(uid).name)
    service = ContainerKey(uid, Role("service.db"))
    await real.run("sleep", "600", name=service.name, labels=site.labels(service, "team/a"))
    await Copier(real.podman, site).filesystem(naming.agent(uid).name, naming.copy(uid), labels)
    persons.run("commit", "--quiet", naming.agent(uid).name, COMMITTED)
    built(persons, COMMITTED, BUILT)
    persons.run("tag", naming.copy(uid), TAGGED)
    built(persons, naming.copy(uid), ON_TOP)
    persons.run("create", "--name", "persons-own", BUILT, "true")
    mine = (COMMITTED, BUILT, TAGGED, ON_TOP)
    for image in mine:
        found = await real.podman.copies.inspect(image)
        assert found is not None
        assert found.labels[naming.OWNER] == uid, "if Podman stops copying labels, comparing names becomes unnecessary"
    inventory = Inventory(real.podman, site)
    assert (await inventory.take()).everywhere == {uid}
    await Cleaner(real.podman, site, SessionLocks()).deleted(uid)
    for key in (naming.agent(uid), service):
        assert await real.podman.containers.inspect(key.name) is None
    assert await real.podman.volumes.inspect(naming.volume(uid)) is None
    assert await real.podman.copies.inspect(naming.copy(uid)) is None
    for image in mine:
        assert await real.podman.copies.inspect(image) is not None, image
        assert persons.run("run", "--rm", "--network", "none", image, "echo", "works") == "works"
    assert await real.podman.containers.inspect("persons-own") is not None
    found_later = await inventory.take()
    assert (found_later.everywhere, found_later.needed_while_running) == (frozenset(), frozenset())


async def test_what_only_bears_a_role_s_label_is_not_swept(
    real: Bed, persons: IsolatedPodman, site: Site, tmp_path: Path
) -> None:
    ours = site.installation
    images = Images(real.podman, tmp_path, Access(tmp_path), ours, lambda _: None)
    mounts, networks = CLIMounts(real.podman, images, ours), Networks(real.podman, ours)
    found = await real.podman.images.inspect(real.image)
    assert found is not None
    for name, role in (("persons-look", naming.ROLE_READER), ("persons-cli", naming.ROLE_HOLDER)):
        labels = [f"{naming.INSTALLATION}={ours}", f"{naming.ROLE}={role}"]
        persons.run("create", "--name", name, *(f"--label={label}" for label in labels), real.image, "true")
    look = f"{naming.reader(found.id)}-0"
    await real.podman.containers.create(
        never_started(look, found.id, {naming.INSTALLATION: ours, naming.ROLE: naming.ROLE_READER})
    )
    persons.run("network", "create", f"--label={naming.INSTALLATION}={ours}", "persons-net")
    made = await networks.ensure("team")
    networks._asked.clear()
    mounts._ready[("another image", "bin/claude")] = None  # type: ignore[assignment]
    try:
        await images.remove_readers()
        await mounts.drop_unused()
        await networks.clear([])
        left = {c.name for c in await real.podman.containers.list({naming.INSTALLATION: ours})}
        assert left == {"persons-look", "persons-cli"}
        assert {n.name for n in await real.podman.networks.list({naming.INSTALLATION: ours})} == {"persons-net"}
        assert made != "persons-net"
    finally:
        persons.run("network", "rm", "persons-net")
