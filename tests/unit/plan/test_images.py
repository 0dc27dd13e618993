"""Which of the images that Podman finds a reference may mean: references against what an image is known as."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stromboli.grammar.reference import Reference, parse
from stromboli.plan.images import is_copy, is_local, is_meant, local_twin

D1, D2 = (f"sha256:{digit * 64}" for digit in "12")
COPY = "localhost/stromboli/session"
REPOSITORIES = (
    "docker.io/library/python",
    "docker.io/library/pyth",
    "docker.io/python",
    "docker.io/library/python/x",
    "quay.io/library/python",
    "localhost/python",
    "localhost:5000/library/python",
    COPY,
)
TAGS = ("latest", "3.12", "3.1")

repositories, tags, digests = map(st.sampled_from, (REPOSITORIES, TAGS, (D1, D2)))
names = st.sets(st.tuples(repositories, tags), max_size=5)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    registry, _, path = draw(repositories).partition("/")
    digest = draw(st.none() | digests)
    return Reference(registry, path, draw(tags) if digest is None else draw(st.none() | tags), digest)


@given(references(), names, st.sets(digests, min_size=1), st.sets(repositories, max_size=2))
def test_an_image_is_meant_where_its_own_repository_knows_it_and_nowhere_else(
    reference: Reference, known: set[tuple[str, str]], contents: set[str], by_digest: set[str]
) -> None:
    """`RepoDigests` as Podman makes them: each name's repository with each digest of the image."""
    repo_tags = [f"{repository}:{tag}" for repository, tag in known]
    everywhere = {repository for repository, _ in known} | by_digest
    repo_digests = [f"{repository}@{digest}" for repository in everywhere for digest in contents]
    if COPY in everywhere:
        expected = False
    elif reference.digest is not None:
        expected = reference.name in everywhere and reference.digest in contents
    else:
        expected = (reference.name, reference.tag) in known
    assert is_meant(reference, repo_tags, repo_digests) is expected


def test_another_repositorys_digest_is_not_enough() -> None:
    reference = parse(f"python@{D1}")
    assert not is_meant(reference, ["quay.io/other/secret:1"], [f"quay.io/other/secret@{D1}"])
    assert not is_meant(reference, [], []), "an image that has lost its names"
    assert not is_meant(reference, ["docker.io/library/python:3.12"], [f"docker.io/library/python@{D2}"])
    assert is_meant(reference, [], [f"docker.io/library/python@{D1}"]), "pulled by its digest"
    assert is_meant(reference, ["docker.io/library/python:3.12"], [f"docker.io/library/python@{D1}"])


def test_with_a_digest_the_tag_has_no_say() -> None:
    known = ["docker.io/library/python:3.11"], [f"docker.io/library/python@{D1}"]
    assert is_meant(parse(f"python:3.12@{D1}"), *known)


def test_a_session_copy_is_never_meant_by_whatever_name_somebody_gives_it() -> None:
    names = [f"{COPY}:7f1c2c2e", "docker.io/library/python:3.12"]
    digests = [f"{COPY}@{D1}", f"docker.io/library/python@{D1}"]
    assert is_copy(names, digests)
    for text in ("python:3.12", f"python@{D1}", f"{COPY}:7f1c2c2e", f"{COPY}@{D1}"):
        assert not is_meant(parse(text), names, digests)
    assert not is_copy([f"{COPY}s:1", "localhost/stromboli/agent:1"], [])


def test_an_image_built_for_a_session_is_never_meant_either() -> None:
    names = ["localhost/stromboli/built:7f1c2c2e-db", "docker.io/library/postgres:16"]
    assert is_copy(names, [])
    assert not is_meant(parse("postgres:16"), names, [])


def test_localhost_is_no_registry_and_a_port_of_it_is() -> None:
    assert is_local(parse("localhost/mine:1"))
    assert not is_local(parse("localhost:5000/mine:1"))
    assert not is_local(parse("mine:1"))


def test_what_was_built_here_under_the_name_that_somebody_wrote_short() -> None:
    assert str(local_twin(parse("mine:1"))) == "localhost/mine:1"
    assert str(local_twin(parse("team/mine"))) == "localhost/team/mine:latest"
    assert str(local_twin(parse(f"mine@{D1}"))) == f"localhost/mine@{D1}"
    for text in ("quay.io/team/mine:1", "localhost/mine:1", "localhost:5000/mine:1"):
        assert local_twin(parse(text)) is None
