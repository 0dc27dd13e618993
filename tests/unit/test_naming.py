"""Names that are the same tomorrow, differ where their owners do, and fit where they go."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from stromboli import naming

UID = "7f1c2c2e-0000-4000-8000-000000000001"
INSTALLATION = "0d6e4079-1111-4111-8111-111111111111"
IMAGE = "f" * 64
# Podman's rule for names of containers, volumes and networks (libpod/define: NameRegex).
PODMAN = r"[a-zA-Z0-9][a-zA-Z0-9_.-]*"


def test_names_for_podman() -> None:
    for name in (
        naming.agent(UID).name,
        naming.ContainerKey(UID, naming.JANITOR).name,
        naming.volume(UID),
        naming.holder(INSTALLATION, IMAGE),
        naming.reader(IMAGE),
        naming.network(INSTALLATION, "team"),
    ):
        assert re.fullmatch(PODMAN, name)
        assert name.startswith("stromboli-")
        assert len(name) <= 63


def test_names_are_the_same_tomorrow() -> None:
    assert naming.agent(UID).name == f"stromboli-{UID}"
    assert naming.ContainerKey(UID, naming.Role("service.db")).name == f"stromboli-{UID}-service.db"
    assert naming.holder(INSTALLATION, IMAGE) == "stromboli-cli-0d6e4079-ffffffffffff"
    assert naming.attempt(UID, 2) == f"{UID}-2"
    assert naming.network(INSTALLATION, "team") == naming.network(INSTALLATION, "team")
    assert naming.event("k", "Started") == "stromboli.3a9dbc4eac0f9b04c7c1f4db"


NAMES = st.text(st.sampled_from("ab-/"), max_size=4)


@given(NAMES, NAMES, NAMES, NAMES)
def test_each_namespace_of_each_installation_has_its_own_network(a: str, b: str, c: str, d: str) -> None:
    """A namespace has no slash in its name, so the two are told apart."""
    b, d = b.replace("/", ""), d.replace("/", "")
    assert (naming.network(a, b) == naming.network(c, d)) is ((a, b) == (c, d))


def test_an_event_is_a_name_of_kubernetes() -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", naming.event("k", "A"))


def test_paths_lie_in_each_other() -> None:
    for path in (naming.PLAN, naming.OUT, naming.HANDED, naming.SESSION, naming.LLM_GATEWAY):
        assert path.startswith(f"{naming.RUNTIME}/")
    assert naming.CONFIG_DIR.startswith(f"{naming.SESSION}/")


def test_labels_are_ours_and_differ() -> None:
    labels = (naming.INSTALLATION, naming.OWNER, naming.RUN, naming.ROLE)
    assert len(set(labels)) == 4
    assert all(label.startswith("stromboli.dev/") for label in labels)
    assert len({naming.AGENT, naming.JANITOR, naming.COPIER, naming.ROLE_HOLDER, naming.ROLE_READER}) == 5


def test_only_the_name_of_a_namespace_becomes_part_of_a_path() -> None:
    for name in ("default", "kube-system", "0", "a" * 63):
        assert naming.is_namespace(name)
    for name in ("", "-a", "a-", "A", "a.b", "a/b", "..", "a\n", "a" * 64):
        assert not naming.is_namespace(name)
