"""`stromboli images pull`: what is created, followed and deleted, and how it ends. The API server is played here."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from stromboli import naming
from stromboli.__main__ import _interrupt, run
from stromboli.cli import exitcodes
from stromboli.cli.images import pull
from stromboli.controlplane import kubeconfig
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.grammar import reference
from stromboli.kube import objects
from stromboli.kube.user import User
from stromboli.models.image import AgentImage
from stromboli.plan import awaited_image
from stromboli.plan.awaited_image import Ended, Failed, Fetching
from stromboli.podman.pulls import PullProgress
from stromboli.registry_problem import RegistryProblem

Out = pytest.CaptureFixture[str]
Wire = dict[str, Any]
PYTHON = "docker.io/library/python:3.12"
HERE = f"{PYTHON} is on node n"


def status(ready: str, message: str, *, problem: str = "", stalled: bool = False, **others: tuple[str, str]) -> Wire:
    """A status of generation 1, with `Ready` of that reason."""
    found = {"Ready": ("True" if ready == "Present" else "False", message)} | others
    conditions = [
        {"type": type_, "status": value, "reason": ready, "message": said} for type_, (value, said) in found.items()
    ]
    if ready != "Present":
        type_ = "Stalled" if stalled else "Reconciling"
        conditions.append({"type": type_, "status": "True", "reason": ready, "message": message})
    node = {"name": "n"} | ({"problem": problem} if problem else {})
    return {"observedGeneration": 1, "conditions": conditions, "nodes": [node]}


def fetching(fetched: float) -> Wire:
    return status("Pulling", f"pulling {PYTHON}: {fetched} of 30.0 MiB, 2 of 5 layers, 4 s so far")


PRESENT = status("Present", HERE, Compatible=("True", "glibc 2.36"))


class Cluster:
    """Its AgentImages. With each look at one, it has the next of the `steps` as its status."""

    def __init__(self) -> None:
        self.images: dict[str, Wire] = {}
        self.steps: list[Wire] = []
        self.looked: Callable[[], None] = lambda: None
        self.created: list[str] = []
        self.deleted: list[str] = []
        self.failure: Exception | None = None
        self.raced = False
        self.secrets: tuple[str, ...] = ()

    def __call__(self, user: User) -> Self:
        return self

    def add(self, name: str, image: str, found: Wire | None = None) -> None:
        metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "generation": 1}
        self.images[name] = {"metadata": metadata, "spec": {"image": image}, "status": found or {}}

    def all(self) -> Iterator[AgentImage]:
        if self.failure is not None:
            raise self.failure
        for wire in [] if self.raced else list(self.images.values()):
            yield _read(wire)

    def create(self, name: str, image: str, secrets: Sequence[str]) -> AgentImage | None:
        if name in self.images:
            return None
        self.created.append(image)
        self.secrets = tuple(secrets)
        self.add(name, image)
        return _read(self.images[name])

    def get(self, name: str) -> AgentImage | None:
        if name not in self.images:
            return None
        if self.steps:
            self.images[name]["status"] = self.steps.pop(0)
        found = _read(self.images[name])
        self.looked()
        return found

    def delete(self, image: AgentImage) -> None:
        self.deleted.append(image.name)
        del self.images[image.name]


def _read(wire: Wire) -> AgentImage:
    return objects.image(copy.deepcopy(wire))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    found = Cluster()
    kubeconfig.write(tmp_path / "config", "https://127.0.0.1:9", b"x", "alice", "ns")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(pull, "ImageObjects", found)
    monkeypatch.setattr(pull, "FIRST", 0.001)
    monkeypatch.setattr(pull, "LAST", 0.001)
    return found


def test_it_is_created_and_followed_to_the_end(cluster: Cluster, capsys: Out) -> None:
    cluster.steps = [{}, fetching(1.0), fetching(20.0), PRESENT]
    assert run(["images", "pull", "python:3.12"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{HERE}\n"
    assert captured.err.splitlines()[0] == f"… pulling {PYTHON}"
    assert captured.err.splitlines()[-1].startswith(f"✓ pulling {PYTHON}: 31 of 31 MB (100 %), 5 layers, ")
    assert (cluster.created, cluster.deleted) == ([PYTHON], [])
    (name,) = cluster.images
    assert name.startswith("library-python-3-12-")


def test_secrets_for_a_private_registry(cluster: Cluster) -> None:
    cluster.steps = [PRESENT]
    assert run(["images", "pull", "python:3.12", "--pull-secret", "a", "--pull-secret", "b"]) == 0
    assert cluster.secrets == ("a", "b")


def test_what_is_there_says_so_at_once(cluster: Cluster, capsys: Out) -> None:
    cluster.add("mine", "python:3.12", PRESENT)
    assert run(["images", "pull", PYTHON]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (f"{HERE}\n", "")
    assert (cluster.created, cluster.deleted) == ([], [])


def test_one_of_the_same_image_is_followed(cluster: Cluster) -> None:
    cluster.add("other", "python:3.11", PRESENT)
    cluster.add("odd", "not a reference", PRESENT)
    cluster.add("mine", "python:3.12", fetching(1.0))
    cluster.steps = [PRESENT]
    assert run(["images", "pull", "python:3.12"]) == 0
    assert cluster.created == []


def test_one_that_somebody_creates_at_the_same_moment(cluster: Cluster) -> None:
    cluster.add(awaited_image.name_for(reference.parse("python:3.12")), "python:3.12", fetching(1.0))
    cluster.raced = True
    cluster.steps = [PRESENT]
    assert run(["images", "pull", "python:3.12"]) == 0
    assert (cluster.created, cluster.deleted) == ([], [])


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (status("ImageNotAllowed", "not allowed", stalled=True), exitcodes.NOT_ALLOWED),
        (status("PolicyViolation", "two policies", stalled=True), exitcodes.NOT_ALLOWED),
        (status("ImagePullFailed", "x", problem="not found", stalled=True), exitcodes.NO_SUCH_IMAGE),
        (status("ImagePullFailed", "x", problem="no such platform", stalled=True), exitcodes.NO_SUCH_IMAGE),
        (status("ImagePullFailed", "its policy is Never", stalled=True), exitcodes.NO_SUCH_IMAGE),
        (status("ImagePullFailed", "x", problem="access denied", stalled=True), exitcodes.NO_ACCESS),
        (status("ImagePullFailed", "x", problem="not a registry", stalled=True), exitcodes.REGISTRY_AWAY),
        (status("RegistryUnavailable", "x", problem="rate limited"), exitcodes.REGISTRY_AWAY),
        (status("RegistryUnavailable", "x", problem="registry unavailable"), exitcodes.REGISTRY_AWAY),
        (status("InvalidSpec", "x", stalled=True), 1),
    ],
)
def test_why_it_does_not_get_here(cluster: Cluster, capsys: Out, last: Wire, code: int) -> None:
    cluster.steps = [last]
    assert run(["images", "pull", "python:3.12"]) == code
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"stromboli: {last['conditions'][0]['message']}"
    assert captured.out == ""
    assert cluster.images == {}, "what was created is deleted again"


def test_a_policy_refuses_here_while_another_node_had_trouble_with_the_registry(cluster: Cluster) -> None:
    refused = status("ImageNotAllowed", "not allowed", stalled=True)
    refused["nodes"].append({"name": "other", "problem": "access denied"})
    cluster.steps = [refused]
    assert run(["images", "pull", "python:3.12"]) == exitcodes.NOT_ALLOWED


def test_what_was_there_before_stays(cluster: Cluster) -> None:
    cluster.add("mine", "python:3.12", status("ImageNotAllowed", "not allowed", stalled=True))
    assert run(["images", "pull", "python:3.12"]) == exitcodes.NOT_ALLOWED
    assert cluster.deleted == []


def test_an_image_that_is_not_compatible_is_here_all_the_same(cluster: Cluster, capsys: Out) -> None:
    cluster.steps = [status("Present", HERE, Compatible=("False", "musl\x1b[2J 1.2"))]
    assert run(["images", "pull", "python:3.12"]) == exitcodes.NOT_COMPATIBLE
    captured = capsys.readouterr()
    assert captured.out == f"{HERE}\n"
    assert captured.err.splitlines()[-1] == "stromboli: the Claude CLI cannot run in it: musl\\x1b[2J 1.2"
    assert cluster.deleted == []


def test_what_may_pass_is_waited_for(cluster: Cluster) -> None:
    for reason in ("PodmanUnavailable", "NodeOutOfDisk", "PoliciesUnavailable"):
        cluster.steps.append(status(reason, "wait"))
    cluster.steps.append(PRESENT)
    assert run(["images", "pull", "python:3.12"]) == 0


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, as in a terminal: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_deletes_it(cluster: Cluster, capsys: Out, number: signal.Signals) -> None:
    before = signal.signal(signal.SIGTERM, _interrupt)
    cluster.steps = [fetching(1.0)]
    cluster.looked = lambda: signal.raise_signal(number)
    try:
        assert run(["images", "pull", "python:3.12"]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stromboli: interrupted" in capsys.readouterr().err
    assert len(cluster.deleted) == 1


def test_an_interruption_while_it_is_created_deletes_it(cluster: Cluster) -> None:
    original = cluster.create

    def slow(name: str, image: str, secrets: Sequence[str]) -> AgentImage | None:
        signal.raise_signal(signal.SIGINT)
        return original(name, image, secrets)

    cluster.create = slow  # type: ignore[method-assign]
    assert run(["images", "pull", "python:3.12"]) == 130
    assert (len(cluster.deleted), cluster.images) == (1, {})


def test_another_of_the_same_name_is_not_deleted(cluster: Cluster, capsys: Out) -> None:
    """Somebody has deleted the one that was created here, and created it anew."""

    def renew() -> None:
        for wire in cluster.images.values():
            wire["metadata"]["uid"] = "another"

    cluster.steps = [fetching(1.0), fetching(2.0)]
    cluster.looked = renew
    assert run(["images", "pull", "python:3.12"]) == 1
    assert "was deleted meanwhile" in capsys.readouterr().err
    assert (len(cluster.images), cluster.deleted) == (1, [])


def test_an_interruption_leaves_what_others_created(cluster: Cluster) -> None:
    cluster.add("mine", "python:3.12", fetching(1.0))
    cluster.looked = lambda: signal.raise_signal(signal.SIGINT)
    assert run(["images", "pull", "python:3.12"]) == 130
    assert cluster.deleted == []


def test_somebody_deletes_it(cluster: Cluster, capsys: Out) -> None:
    cluster.add("mine", "python:3.12", fetching(1.0))
    cluster.looked = cluster.images.clear
    assert run(["images", "pull", "python:3.12"]) == 1
    assert "ns/mine was deleted meanwhile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "code", "word"),
    [
        (ApiRefused("agentimages is forbidden", "", 403, "Forbidden"), exitcodes.NOT_ALLOWED, "is forbidden"),
        (ApiRefused("Unauthorized", "", 401, "Unauthorized"), exitcodes.NOT_ALLOWED, "Unauthorized"),
        (ApiRefused("no such resource", "", 404, "NotFound"), 1, "no such resource"),
        (ApiUnreachable("the API server does not respond"), 1, "the API server does not respond"),
    ],
)
def test_an_api_server_that_refuses(cluster: Cluster, capsys: Out, failure: Exception, code: int, word: str) -> None:
    cluster.failure = failure
    assert run(["images", "pull", "python:3.12"]) == code
    assert word in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["a b"], [""], ["sha256:" + "0" * 64]])
def test_what_is_no_image(cluster: Cluster, arguments: list[str]) -> None:
    assert run(["images", "pull", *arguments]) == 2


def read(found: Wire) -> Ended | Failed | Fetching:
    wire = {"metadata": {"generation": 1}, "spec": {}, "status": found}
    return awaited_image.of(objects.image(wire))


def test_what_a_status_says() -> None:
    assert read({}) == Fetching("", unseen=True)
    assert read(PRESENT | {"observedGeneration": 0}) == Fetching("", unseen=True)
    assert read(fetching(1.5)) == Fetching(
        fetching(1.5)["conditions"][0]["message"], 3 << 19, 30 << 20, complete=2, layers=5
    )
    assert read(status("Pulling", f"pulling {PYTHON}: asking the registry, 3 s so far")) == Fetching(
        "asking the registry"
    )


def test_the_progress_of_podman_is_understood() -> None:
    now = read(status("Pulling", f"pulling x: {PullProgress(5 << 20, 10 << 20, 3, 7)}, 4 s so far"))
    assert isinstance(now, Fetching)
    assert (now.fetched, now.size, now.complete, now.layers) == (5 << 20, 10 << 20, 3, 7)


def test_every_problem_has_an_exit_code() -> None:
    assert all(exitcodes.of_problem(str(problem)) for problem in RegistryProblem)
    assert exitcodes.of_problem("") is None


def test_names_differ_with_the_image() -> None:
    names = {
        awaited_image.name_for(reference.parse(text))
        for text in ("python", "python:3", "ghcr.io/x/python:3", f"a/b@sha256:{'1' * 64}", f"x/{'y' * 200}:1")
    }
    assert len(names) == 5
    assert all(naming.is_object_name(name) and len(name) <= 63 for name in names)


def test_deleting_is_not_broken_off(cluster: Cluster) -> None:
    """A second ^C, while what was created is being deleted."""
    cluster.steps = [fetching(1.0)]
    cluster.looked = lambda: signal.raise_signal(signal.SIGINT)
    original = cluster.delete

    def slow(image: AgentImage) -> None:
        signal.raise_signal(signal.SIGINT)
        original(image)

    cluster.delete = slow  # type: ignore[method-assign]
    assert run(["images", "pull", "python:3.12"]) == 130
    assert len(cluster.deleted) == 1
