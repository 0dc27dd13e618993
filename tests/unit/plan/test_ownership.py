"""Whose a thing in Podman is: names against labels, each of which others may have as well."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming
from stromboli.plan import ownership

OURS, THEIRS = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "12")
UIDS = tuple(f"0b2c6f7e-0000-4000-8000-00000000000{n}" for n in range(3))
CLI, OTHER = "c" * 64, "d" * 64
NAMES = [
    *map(naming.container, UIDS),
    *map(naming.copy, UIDS),
    *(f"{naming.copy(uid)}{naming.STACKED}" for uid in UIDS),
    *(naming.holder(installation, image) for installation in (OURS, THEIRS) for image in (CLI, OTHER)),
    *(f"{naming.look(image)}-0a1b2c3d" for image in (CLI, OTHER)),
    *(naming.network(OURS, namespace) for namespace in ("team", "other")),
    "stromboli-",
    "stromboli-../../etc",
    "eager_hopper",
    "localhost/persons/own:1",
    "localhost/stromboli/session:",
]
VALUES = [OURS, THEIRS, *UIDS, *(naming.ROLE_AGENT, naming.ROLE_HOLDER, naming.ROLE_LOOK), "", "../../etc"]
KEYS = [naming.INSTALLATION, naming.OWNER, naming.ROLE, naming.RUN, "io.buildah.version"]

labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=len(KEYS))
names = st.sampled_from(NAMES)


@given(names, labels)
def test_nothing_is_ours_but_what_our_own_names_and_labels_say_together(name: str, found: dict[str, str]) -> None:
    ours = found.get(naming.INSTALLATION) == OURS
    uid = ownership.session_of_container(name, found, OURS)
    assert uid == ownership.session_of_volume(name, found, OURS)
    assert uid is None or (ours and uid == found[naming.OWNER] and name == f"stromboli-{uid}")
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
        assert ownership.is_look(name, image, found, OURS) == (
            ours and role == naming.ROLE_LOOK and name == f"{naming.look(image)}-0a1b2c3d"
        )
    assert ownership.is_network(name, found, OURS) == (
        ours and name in (naming.network(OURS, "team"), naming.network(OURS, "other"))
    )


def test_what_we_make_is_ours() -> None:
    for uid in UIDS:
        marks = {naming.INSTALLATION: OURS, naming.OWNER: uid, naming.ROLE: naming.ROLE_AGENT}
        assert ownership.session_of_container(naming.container(uid), marks, OURS) == uid
        assert ownership.session_of_volume(naming.volume(uid), marks, OURS) == uid
        stacked = f"{naming.copy(uid)}{naming.STACKED}"
        assert ownership.copies_of([naming.copy(uid), stacked, "x:1"], marks, OURS) == {
            naming.copy(uid): uid,
            stacked: uid,
        }
        assert ownership.session_of_container(naming.container(uid), marks, THEIRS) is None


def test_what_a_commit_or_a_build_hands_on_is_no_proof() -> None:
    """The labels of a session's container, on a person's image and on a container of that."""
    marks = {naming.INSTALLATION: OURS, naming.OWNER: UIDS[0], naming.ROLE: naming.ROLE_AGENT}
    assert ownership.copies_of(["localhost/persons/own:1"], marks, OURS) == {}
    assert ownership.copies_of([], marks, OURS) == {}
    assert ownership.copies_of([naming.copy(UIDS[1])], marks, OURS) == {}, "another session's name"
    assert ownership.session_of_container("eager_hopper", marks, OURS) is None
    assert ownership.session_of_container(naming.container(UIDS[1]), marks, OURS) is None


def test_a_label_that_is_no_uid_is_nobodys() -> None:
    for owner in ("", "../../etc"):
        marks = {naming.INSTALLATION: OURS, naming.OWNER: owner}
        assert ownership.session_of_container("eager_hopper", marks, OURS) is None
        assert ownership.copies_of(["x:1"], marks, OURS) == {}
    assert ownership.session_of_container(naming.container(""), {naming.INSTALLATION: OURS}, OURS) is None
