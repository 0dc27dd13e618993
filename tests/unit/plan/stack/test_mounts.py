"""What is mounted into a service's container."""

from __future__ import annotations

from stromboli.compose.stack import Anonymous, Bind, ImageMount, Named, SecretMount, Tmpfs
from stromboli.plan.stack import mounts, names
from stromboli.plan.stack.mounts import Folder, Found, Memory, Root, Stored
from tests.unit.plan.stack.stacks import service

UID = "7f1c2c2e-0000-4000-8000-000000000001"
FOUND = Found(
    paths={"/srv/app": "/data/app", "/srv/app/x": "/data/app/x"},
    images={"tools:1": "f00d"},
    secrets={"/run/secrets/pw": "/home/op/secrets/db/pw"},
)


def volume(key: str) -> str:
    return names.volume(UID, key)


def test_each_kind() -> None:
    one = service(
        "db",
        mounts=(
            Bind("m", "/srv/app", "/app", read_only=True),
            Named("m", "Data", "/data", read_only=True, no_copy=True),
            Anonymous("m", "/app/node_modules"),
            Tmpfs("m", "/tmp", size=1024, mode=0o1777),
            ImageMount("m", "tools:1", "/opt/tools"),
        ),
        secrets=(SecretMount("s", "m", "/srv/pw.txt", "/run/secrets/pw", 0o400),),
    )
    assert mounts.resolve(UID, one, (), FOUND) == (
        Folder("/data/app", "/app", read_only=True),
        Stored("Data", volume("Data"), "/data", read_only=True, copy=False),
        Memory("/tmp", 1024, 0o1777, read_only=False),
        Stored("db:/app/node_modules", volume("db:/app/node_modules"), "/app/node_modules"),
        Root("f00d", "/opt/tools"),
        Folder("/home/op/secrets/db/pw", "/run/secrets/pw", read_only=True),
    )


def test_outer_mounts_come_first_in_whatever_order_the_file_has_them() -> None:
    one = service("a", mounts=(Anonymous("m", "/a/b/c"), Bind("m", "/srv/app", "/a"), Bind("m", "/srv/app/x", "/a/b")))
    assert [mount.target for mount in mounts.resolve(UID, one, (), FOUND)] == ["/a", "/a/b", "/a/b/c"]


def test_volumes_of_the_image_are_the_stack_s_unless_the_file_mounts_something_there() -> None:
    one = service("db", mounts=(Named("m", "pg", "/var/lib/postgresql/data"), Tmpfs("m", "/cache")))
    inherited = ("/var/lib/postgresql/data/", "/cache", "/logs", "/logs/")
    found = mounts.resolve(UID, one, inherited, FOUND)
    assert [(m.target, m.key) for m in found if isinstance(m, Stored)] == [
        ("/logs", "db:/logs"),
        ("/var/lib/postgresql/data", "pg"),
    ]


def test_a_replaced_container_finds_its_volume_and_another_service_does_not() -> None:
    first, again = (mounts.resolve(UID, service("db"), ("/data",), FOUND) for _ in range(2))
    assert first == again
    assert mounts.resolve(UID, service("cache"), ("/data",), FOUND) != first
