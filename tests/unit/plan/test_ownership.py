"""Whose a thing in Podman is: names against labels, each of which others may have as well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.naming import ContainerKey, Role
from stromboli.plan import ownership

OURS, THEIRS = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "12")
UIDS = tuple(f"0b2c6f7e-0000-4000-8000-00000000000{n}" for n in range(3))
CLI, OTHER = "c" * 64, "d" * 64
SERVICE = Role("service.db")
NAMES = [
    *(ContainerKey(uid, role).name for uid in UIDS for role in (naming.AGENT, SERVICE)),
    *map(naming.copy, UIDS),
    *(f"{naming.copy(uid)}{naming.STACKED}" for uid in UIDS),
    *(naming.holder(installation, image) for installation in (OURS, THEIRS) for image in (CLI, OTHER)),
    *(f"{naming.reader(image)}-0a1b2c3d" for image in (CLI, OTHER)),
    *(naming.network(OURS, namespace) for namespace in ("team", "other")),
    "stromboli-",
    "stromboli-../../etc",
    "eager_hopper",
    "localhost/persons/own:1",
    "localhost/stromboli/session:",
]
ROLES = (naming.AGENT, SERVICE, naming.ROLE_HOLDER, naming.ROLE_READER)
VALUES = [OURS, THEIRS, *UIDS, *ROLES, "", "../../etc"]
KEYS = [naming.INSTALLATION, naming.OWNER, naming.ROLE, naming.RUN, "io.buildah.version"]

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=len(KEYS))
names = st.sampled_from(NAMES)


@given(names, labels)
def test_nothing_is_ours_but_what_our_own_names_and_labels_say_together(name: str, found: dict[str, str]) -> None:
    ours = found.get(naming.INSTALLATION) == OURS
    uid = ownership.session_of_volume(name, found, OURS)
    assert uid is None or (ours and uid == found[naming.OWNER] and name == f"stromboli-{uid}")
    key = ownership.container_key(name, found, OURS)
    if key is not None:
        assert ours
        assert (key.session, key.role) == (found[naming.OWNER], found.get(naming.ROLE, "agent"))
        assert name == (f"stromboli-{key.session}" if key.role == "agent" else f"stromboli-{key.session}-{key.role}")
    assert ownership.is_agent(name, found, OURS) == (key is not None and key.role == "agent")
    for image, owner in ownership.copies_of([name, "docker.io/library/python:3.12"], found, OURS).items():
        assert ours
        assert image == name
        assert found[naming.OWNER] == owner
        assert name in (naming.copy(owner), f"{naming.copy(owner)}-stacked")
    for image in (CLI, OTHER):
        role = found.get(naming.ROLE)
        assert ownership.is_holder(name, image, found, OURS) == (
            ours and role == naming.ROLE_HOLDER and name == naming.holder(OURS, image)
        )
        assert ownership.is_reader(name, image, found, OURS) == (
            ours and role == naming.ROLE_READER and name == f"{naming.reader(image)}-0a1b2c3d"
        )
    assert ownership.is_network(name, found, OURS) == (
        ours and name in (naming.network(OURS, "team"), naming.network(OURS, "other"))
    )


def test_what_we_make_is_ours() -> None:
    for uid in UIDS:
        labels = {naming.INSTALLATION: OURS, naming.OWNER: uid, naming.ROLE: naming.AGENT}
        for key in (naming.agent(uid), ContainerKey(uid, SERVICE)):
            of_role = {**labels, naming.ROLE: key.role}
            assert ownership.container_key(key.name, of_role, OURS) == key
            assert ownership.container_key(key.name, of_role, THEIRS) is None
        assert ownership.session_of_volume(naming.volume(uid), labels, OURS) == uid
        stacked = f"{naming.copy(uid)}{naming.STACKED}"
        assert ownership.copies_of([naming.copy(uid), stacked, "x:1"], labels, OURS) == {
            naming.copy(uid): uid,
            stacked: uid,
        }


def test_a_name_with_another_role_s_label_is_not_ours() -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UIDS[0]}
    agent, service = naming.agent(UIDS[0]), ContainerKey(UIDS[0], SERVICE)
    assert ownership.container_key(agent.name, {**labels, naming.ROLE: service.role}, OURS) is None
    assert ownership.container_key(service.name, {**labels, naming.ROLE: agent.role}, OURS) is None
    assert ownership.container_key(service.name, labels, OURS) is None
    assert not ownership.is_agent(service.name, {**labels, naming.ROLE: service.role}, OURS)


def test_what_an_older_version_created_without_a_role_is_an_agent_s() -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UIDS[0]}
    assert ownership.container_key(naming.agent(UIDS[0]).name, labels, OURS) == naming.agent(UIDS[0])


def test_what_a_commit_or_a_build_hands_on_is_no_proof() -> None:
    """The labels of a session's container, on a person's image and on a container of that."""
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UIDS[0], naming.ROLE: naming.AGENT}
    assert ownership.copies_of(["localhost/persons/own:1"], labels, OURS) == {}
    assert ownership.copies_of([], labels, OURS) == {}
    assert ownership.copies_of([naming.copy(UIDS[1])], labels, OURS) == {}, "another session's name"
    assert ownership.container_key("eager_hopper", labels, OURS) is None
    assert ownership.container_key(naming.agent(UIDS[1]).name, labels, OURS) is None


def test_a_built_image_that_has_lost_its_name() -> None:
    labels = {naming.INSTALLATION: OURS, naming.OWNER: UIDS[0], naming.ROLE: naming.ROLE_BUILT}
    assert ownership.former_build_of([], labels, OURS) == UIDS[0]
    assert ownership.former_build_of(["localhost/persons/own:1"], labels, OURS) is None
    assert ownership.former_build_of([], labels, THEIRS) is None
    assert ownership.former_build_of([], {**labels, naming.OWNER: ""}, OURS) is None
    committed = {**labels, naming.ROLE: SERVICE}
    assert ownership.former_build_of([], committed, OURS) is None, "of a container of a built image"


def test_a_label_that_is_no_uid_is_nobodys() -> None:
    for owner in ("", "../../etc"):
        labels = {naming.INSTALLATION: OURS, naming.OWNER: owner}
        assert ownership.container_key("eager_hopper", labels, OURS) is None
        assert ownership.copies_of(["x:1"], labels, OURS) == {}
    assert ownership.container_key(naming.agent("").name, {naming.INSTALLATION: OURS}, OURS) is None
