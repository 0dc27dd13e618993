"""Names of a stack's parts: the same tomorrow, unique, valid for Podman, and short enough."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.naming import Role
from stromboli.plan import ownership
from stromboli.plan.stack import names

UID, OTHER = "7f1c2c2e-0000-4000-8000-000000000001", "7f1c2c2e-0000-4000-8000-000000000002"
OURS, THEIRS = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "12")
PODMAN = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"  # libpod/define: NameRegex
TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
# What Compose takes as a name; lengths around the limit, and spellings that a careless rule makes equal.
IN_FILES = st.one_of(
    st.from_regex(r"[a-zA-Z0-9._-]{1,60}", fullmatch=True),
    st.text(st.sampled_from("aA_.-0"), min_size=1, max_size=5),
    st.text(st.just("a"), min_size=34, max_size=39),
)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("db", "svc-db"),
        ("my-db-2", "svc-my-db-2"),
        ("a" * 36, f"svc-{'a' * 36}"),
        ("my_db", "svc-my-db."),
        ("my.db", "svc-my-db."),
        ("My-DB", "svc-my-db."),
        ("a" * 37, f"svc-{'a' * 19}."),
        ("-db", "svc-db."),
        ("_", "svc-x."),
    ],
)
def test_a_role_is_readable(name: str, role: str) -> None:
    found = names.service(name)
    readable, dot, _ = found.partition(".")
    assert readable + dot == role


def test_a_name_stays_the_same() -> None:
    """It is how an operator of a later version finds what is there."""
    assert names.service("my_db") == "svc-my-db.e0a37f2f04a0009d"
    assert names.namespace("db") == "ns-db"
    assert names.container(UID, "db").name == f"stromboli-{UID}-svc-db"
    assert names.holder(UID, "db").name == f"stromboli-{UID}-ns-db"
    assert names.network(UID, "default") == f"stromboli-{UID}-net-default"
    assert names.volume(UID, "data") == f"stromboli-{UID}-vol-data"
    key = names.anonymous("db", "/var/lib/postgresql/data")
    assert key == "db:/var/lib/postgresql/data"
    assert names.volume(UID, key) == f"stromboli-{UID}-vol-db-var-lib-postgres.5c255b80357a14f3"
    assert names.image(UID, "db") == f"localhost/stromboli/built:{UID}-db"


@given(IN_FILES)
def test_names_are_valid_and_within_limits(name: str) -> None:
    role = names.service(name)
    assert len(role) <= 40
    assert re.fullmatch(PODMAN, role)
    for full in (
        names.container(UID, name).name,
        names.holder(UID, name).name,
        names.network(UID, name),
        names.volume(UID, name),
        names.volume(UID, names.anonymous(name, "/data")),
    ):
        assert re.fullmatch(PODMAN, full)
        assert full.startswith(f"stromboli-{UID}-")
        assert len(full) <= 90
    repository, _, tag = names.image(UID, name).partition(":")
    assert repository == "localhost/stromboli/built"
    assert re.fullmatch(TAG, tag)


@given(IN_FILES, IN_FILES)
def test_different_names_stay_different(one: str, another: str) -> None:
    for name in (names.service, names.namespace):
        assert (name(one) == name(another)) is (one == another)
    for of in (names.network, names.volume, names.image):
        assert (of(UID, one) == of(UID, another)) is (one == another)
        assert of(UID, one) != of(OTHER, one)


@given(IN_FILES, IN_FILES)
def test_nothing_is_called_like_another_kind_of_thing(one: str, another: str) -> None:
    roles = {names.service(one), names.namespace(another), *naming.ROLES, naming.ROLE_HOLDER, naming.ROLE_READER}
    assert len(roles) == len(naming.ROLES) + 4
    volumes = {names.volume(UID, one), names.volume(UID, names.anonymous(another, "/d")), naming.volume(UID)}
    assert len(volumes) == 3
    assert not naming.NETWORK.fullmatch(names.network(UID, one))


def test_a_name_that_looks_like_a_shortened_one_is_another() -> None:
    short = names.service("my_db").removeprefix("svc-")
    assert names.service(short) != names.service("my_db")


def test_roles_of_a_stack_are_told_from_others() -> None:
    assert names.is_service(names.service("db"))
    assert not names.is_service(names.namespace("db"))
    assert names.is_holder(names.namespace("db"))
    assert not names.is_holder(names.service("db"))
    assert names.is_part(names.service("db"))
    assert names.is_part(names.namespace("db"))
    assert not any(names.is_part(role) or names.is_service(role) for role in (*naming.ROLES, Role("service.db")))


def test_fifty_stacks_of_one_file_on_a_node() -> None:
    uids = [f"7f1c2c2e-0000-4000-8000-{n:012}" for n in range(50)]
    services = [f"Service_{n}" for n in range(57)]
    found = {names.container(uid, service).name for uid in uids for service in services}
    assert len(found) == 50 * 57


@pytest.mark.parametrize("key", ["data", "My_Data", "db:/var/lib/data"])
def test_a_volume_or_network_is_ours_by_name_and_labels_together(key: str) -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UID, naming.STACK_VOLUME: key, naming.STACK_NETWORK: key}
    for whose, label, name in (
        (ownership.session_of_stack_volume, naming.STACK_VOLUME, names.volume),
        (ownership.session_of_stack_network, naming.STACK_NETWORK, names.network),
    ):
        assert whose(name(UID, key), labels, OURS) == UID
        assert whose(name(UID, key), labels, THEIRS) is None
        assert whose(name(OTHER, key), labels, OURS) is None
        assert whose(name(UID, "other"), labels, OURS) is None
        assert whose(name(UID, key), {**labels, label: "other"}, OURS) is None
        assert whose(name(UID, key), {k: v for k, v in labels.items() if k != label}, OURS) is None
        assert whose(name(UID, ""), {**labels, label: ""}, OURS) is None
        assert whose(naming.volume(UID), labels, OURS) is None


def test_a_volume_of_a_stack_is_not_the_conversation() -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UID, naming.STACK_VOLUME: "data"}
    assert ownership.session_of_volume(names.volume(UID, "data"), labels, OURS) is None
    assert not ownership.is_network(names.network(UID, "default"), labels, OURS)


def test_a_built_image_is_ours_under_our_name_only() -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UID, naming.SERVICE: "db"}
    own = names.image(UID, "db")
    assert ownership.builds_of([own, "docker.io/library/postgres:16"], labels, OURS) == {own: UID}
    assert ownership.builds_of([own], labels, THEIRS) == {}
    assert ownership.builds_of([names.image(OTHER, "db"), names.image(UID, "app")], labels, OURS) == {}
    assert ownership.builds_of([own], {k: v for k, v in labels.items() if k != naming.SERVICE}, OURS) == {}
    assert ownership.copies_of([own], labels, OURS) == {}
