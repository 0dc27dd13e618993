"""What people ask of a cluster: the same checks face the API server in memory and a real one."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from stromboli.cli.runs.getting import TABLE
from stromboli.controlplane.cluster import Cluster as ControlPlane
from stromboli.errors import ApiRefused
from stromboli.kube import kubeconfig
from stromboli.kube.kubeconfig import Place
from stromboli.kube.states import changes, states
from stromboli.kube.user import NAMESPACES, RUNS, User
from tests.support.fake_api_server import FakeApiServer, Object


@pytest.fixture
def fake_person() -> Iterator[User]:
    with FakeApiServer().serving() as server, User(Place("it", server.url, namespace="contract")) as user:
        yield user


@pytest.fixture
def real_person(installed: None, own: ControlPlane) -> Iterator[User]:
    with User(kubeconfig.read([own.kubeconfig])) as user:
        user.namespace = f"people-{uuid.uuid4().hex[:12]}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": user.namespace}}
        user._sent("POST", NAMESPACES.path(), {}, body)
        yield user
        user.delete(NAMESPACES, None, user.namespace)


@pytest.fixture(params=["fake_person", "real_person"])
def user(request: pytest.FixtureRequest) -> User:
    found: User = request.getfixturevalue(request.param)
    return found


def run(name: str, **labels: str) -> Object:
    return {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "labels": labels},
        "spec": {"prompt": "x", "image": "python:3.12"},
    }


def made(user: User, name: str, **labels: str) -> Object:
    return dict(user.create(RUNS, user.namespace, run(name, **labels)))


def test_an_object_from_its_creation_to_its_deletion(user: User) -> None:
    space = user.namespace
    created = made(user, "a")
    assert user.get(RUNS, space, "a") == created
    with pytest.raises(ApiRefused, match="already exists") as refused:
        made(user, "a")
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")
    changed = user.patch(RUNS, space, "a", {"spec": {"cancel": True}})
    assert changed["spec"] == {**created["spec"], "cancel": True}
    assert changed["metadata"]["resourceVersion"] != created["metadata"]["resourceVersion"]
    with pytest.raises(ApiRefused) as refused:
        user.delete(RUNS, space, "a", uid=str(uuid.uuid4()))
    assert refused.value.status == 409
    user.delete(RUNS, space, "a", uid=created["metadata"]["uid"])
    with pytest.raises(ApiRefused, match='"a" not found') as refused:
        user.get(RUNS, space, "a")
    assert (refused.value.status, refused.value.reason, refused.value.hint) == (404, "NotFound", "")


def test_another_object_of_the_name_is_not_changed(user: User) -> None:
    made(user, "a")
    with pytest.raises(ApiRefused) as refused:
        user.patch(RUNS, user.namespace, "a", {"metadata": {"uid": str(uuid.uuid4())}, "spec": {"cancel": True}})
    assert refused.value.status in (409, 422)
    assert "cancel" not in user.get(RUNS, user.namespace, "a")["spec"]


def test_lists_and_tables(user: User) -> None:
    for name, team in (("b", "web"), ("a", "web"), ("c", "ops")):
        made(user, name, team=team)
    listed = user.list(RUNS, user.namespace, labels="team=web")
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]
    one = user.list(RUNS, user.namespace, fields="metadata.name=c").items
    assert [item["metadata"]["name"] for item in one] == ["c"]
    first, second = user.pages(RUNS, user.namespace, {"limit": "2"}, TABLE)
    names = [column["name"] for column in first["columnDefinitions"]]
    rows = [*first["rows"], *second["rows"]]
    assert [row["cells"][names.index("Name")] for row in rows] == ["a", "b", "c"]
    assert {row["object"]["metadata"]["namespace"] for row in rows} == {user.namespace}
    assert {"Reason", "Age", "Session"} <= set(names)
    assert "spec" not in rows[0]["object"]


def test_what_is_not_served(user: User) -> None:
    for path in ("/apis/stromboli.dev/v1alpha1/nothing", "/apis/nobody.test/v1/things"):
        with pytest.raises(ApiRefused, match="could not find the requested resource") as refused:
            user.document(path)
        assert refused.value.status == 404


def test_a_watch_shows_each_change_in_either_form(user: User) -> None:
    version = user.list(RUNS, user.namespace).version
    made(user, "a")
    user.patch(RUNS, user.namespace, "a", {"spec": {"suspend": True}})
    user.delete(RUNS, user.namespace, "a")
    for accept in ("", TABLE):
        seen = []
        for kind, found in changes(user, RUNS, user.namespace, version, seconds=30, accept=accept):
            about = found["rows"][0]["object"] if accept else found
            seen.append((kind, about["metadata"]["name"]))
            if kind == "DELETED":
                break
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_the_states_of_an_object_that_comes_and_goes(user: User) -> None:
    seen = states(user, RUNS, user.namespace, "a", until=time.monotonic() + 30)
    assert next(seen) is None
    made(user, "other")
    threading.Timer(0.1, made, (user, "a")).start()
    found = next(seen)
    assert found is not None
    assert found["metadata"]["name"] == "a"
    user.delete(RUNS, user.namespace, "a")
    assert next(seen) is None


def test_a_watch_ends_at_its_time(user: User) -> None:
    began = time.monotonic()
    assert list(states(user, RUNS, user.namespace, "a", until=began + 1.5)) == [None]
    assert 1.0 < time.monotonic() - began < 20
