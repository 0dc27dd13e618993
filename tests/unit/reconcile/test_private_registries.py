"""Images of a registry that asks for credentials, and two namespaces of which one has them.

The registry is the fake Podman's: it is asked for manifests as well, with the same logins. No test may leave a password
anywhere, which `secrets_stay_secret` checks at the end of each.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli import naming
from stromboli.errors import ImageMissing, RegistryError
from stromboli.grammar.reference import Reference, parse
from stromboli.models.fields import PullSecretName
from stromboli.node.pull_records import PullRecords
from stromboli.observe.pullsecrets import PullSecrets
from stromboli.perform.images.discovery import Progress
from stromboli.registry_credentials import Credentials, Login
from stromboli.registry_problem import RegistryProblem
from tests.support.wire import is_finished, reason_of
from tests.unit.reconcile.conftest import SPACE, Node, Process, Roots, policy
from tests.unit.reconcile.faults import Killer

OTHER = "other"
HOST = "registry.test"
APP = f"{HOST}/team/app:1"
OURS, THEIRS = Login("robot-a", "open sesame"), Login("robot-b", "abracadabra")
SECRET = "registry"
PULLED = "POST /images/create"


def dockerconfig(login: Login, place: str = HOST) -> dict[str, bytes]:
    auth = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    return {".dockerconfigjson": json.dumps({"auths": {place: {"auth": auth}}}).encode()}


class Registry:
    """What the registry of the fake Podman is asked for without a pull."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.away = False
        self.asked: list[tuple[str, Credentials | None]] = []

    async def digest(self, _: object, reference: Reference, __: object, credentials: Credentials | None = None) -> str:
        self.asked.append((str(reference), credentials))
        if self.away:
            raise RegistryError(f"{HOST} does not answer", RegistryProblem.UNAVAILABLE)
        given = isinstance(credentials, Login) and {"username": credentials.user, "password": credentials.password}
        if given not in self.node.fake.logins[HOST]:
            raise RegistryError(f"{HOST} denies access to {reference}", RegistryProblem.DENIED)
        return f"sha256:{self.node.fake.registry[APP].id}"  # type: ignore[union-attr]

    def goes(self) -> None:
        """It is away, for Podman too."""
        self.away = True
        self.node.fake.registry[APP] = (
            f'pinging container registry {HOST}: Get "https://{HOST}/v2/": connection refused'
        )


@pytest.fixture
def registry(node: Node, roots: Roots, monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry(node)
    node.fake.logins[HOST] = [{"username": each.user, "password": each.password} for each in (OURS, THEIRS)]
    node.fake.registry[APP] = node.fake.image(APP, root=roots.image)
    node.cluster.secrets[SPACE, SECRET] = dockerconfig(OURS)
    node.cluster.labels[OTHER] = {}

    async def digest(self: object, *given: Any) -> str:
        return await made.digest(self, *given)

    monkeypatch.setattr("stromboli.registries.Registries.digest", digest)
    return made


@pytest.fixture(autouse=True)
def secrets_stay_secret(node: Node, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No password in a status, an event, a log or a file, be it as it is or as it is sent."""
    yield
    objects = [*node.cluster.objects.values(), *node.cluster.all_sessions.values(), *node.cluster.all_images.values()]
    said = json.dumps([*objects, *node.cluster.events.values(), *node.fake.calls]) + caplog.text
    files = [path for path in node.settings.home.rglob("*") if path.is_file()]
    for login in (OURS, THEIRS):
        sent = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
        for secret in (login.user, login.password, sent):
            assert secret not in said
            assert [path for path in files if secret.encode() in path.read_bytes()] == []


def secrets(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names or (SECRET,)]


def run(node: Node, name: str, space: str = SPACE, **spec: Any) -> None:
    node.cluster.add_run(space, name, {"prompt": "answer", "image": APP, **spec})


def status(node: Node, name: str, space: str = SPACE) -> Any:
    return node.cluster.objects[space, name].get("status") or {}


async def ended(node: Node, name: str, space: str = SPACE) -> tuple[str, str]:
    """How a run has ended: the reason, and the message."""
    await node.until(lambda: is_finished(status(node, name, space)), f"{space}/{name} has ended")
    found = status(node, name, space)
    message = next(c["message"] for c in found["conditions"] if c["type"] == "Succeeded")
    return str(reason_of(found)), message


def pulls(node: Node) -> int:
    return sum("/images/create" in call for call in node.fake.calls)


def created(node: Node, space: str) -> list[str]:
    """The containers that were ever created for a namespace's runs."""
    owners = {o["metadata"]["uid"] for (namespace, _), o in node.cluster.objects.items() if namespace == space}
    return [c.name for c in node.fake.containers.values() if c.labels.get(naming.OWNER) in owners]


@pytest.fixture
async def here(node: Node, registry: Registry) -> AsyncIterator[Process]:
    """An operator; the namespace with credentials has had the image pulled."""
    async with node.process() as process:
        run(node, "first", imagePullSecrets=secrets())
        assert (await ended(node, "first"))[0] == "Completed"
        yield process


async def test_the_secret_opens_the_registry_once(node: Node, here: Process, registry: Registry) -> None:
    run(node, "second", imagePullSecrets=secrets())
    assert (await ended(node, "second"))[0] == "Completed"
    assert (pulls(node), registry.asked) == (1, []), "the same credentials are known by then"


async def test_without_credentials_the_other_namespace_does_not_get_it(node: Node, here: Process) -> None:
    run(node, "second", OTHER)
    reason, message = await ended(node, "second", OTHER)
    assert reason == "ImagePullFailed"
    assert message.startswith(f"image {APP} could not be pulled: ")
    assert "; check the image's name and tag, and that imagePullSecrets names credentials for it" in message
    assert created(node, OTHER) == []
    assert "image" not in status(node, "second", OTHER)


async def test_nor_does_another_run_of_the_same_namespace(node: Node, here: Process) -> None:
    run(node, "second")
    assert (await ended(node, "second"))[0] == "ImagePullFailed"


async def test_its_own_credentials_are_shown_to_the_registry_and_not_for_a_pull(
    node: Node, here: Process, registry: Registry
) -> None:
    node.cluster.secrets[OTHER, SECRET] = dockerconfig(THEIRS)
    run(node, "second", OTHER, imagePullSecrets=secrets())
    assert (await ended(node, "second", OTHER))[0] == "Completed"
    image = status(node, "second", OTHER)["image"]["id"]
    assert (pulls(node), registry.asked) == (1, [(f"{HOST}/team/app@sha256:{image}", THEIRS)])
    run(node, "third", OTHER, imagePullSecrets=secrets())
    assert (await ended(node, "third", OTHER))[0] == "Completed"
    assert len(registry.asked) == 1


@pytest.mark.parametrize("never", [False, True], ids=["IfNotPresent", "Never"])
async def test_credentials_that_are_refused_name_the_secret_and_the_registry(
    node: Node, here: Process, never: bool
) -> None:
    if never:
        node.cluster.all_policies[:] = [policy(images={"pullPolicy": "Never"})]
    node.cluster.secrets[OTHER, SECRET] = dockerconfig(Login("robot-a", "a guess"))
    run(node, "second", OTHER, imagePullSecrets=secrets())
    reason, message = await ended(node, "second", OTHER)
    assert reason == "ImagePullFailed"
    assert f"; {HOST} refuses the credentials of the Secret {SECRET}; check" in message


async def test_a_digest_in_place_of_the_name(node: Node, here: Process) -> None:
    digest = f"{HOST}/team/app@sha256:{status(node, 'first')['image']['id']}"
    node.fake.registry[digest] = node.fake.registry[APP]
    run(node, "ours", image=digest, imagePullSecrets=secrets())
    assert (await ended(node, "ours"))[0] == "Completed"
    run(node, "theirs", OTHER, image=digest)
    assert (await ended(node, "theirs", OTHER))[0] == "ImagePullFailed"
    assert created(node, OTHER) == []


async def test_an_id_in_place_of_the_name(node: Node, here: Process) -> None:
    image = status(node, "first")["image"]["id"]
    for number, written in enumerate((image, f"sha256:{image}", f"{HOST}/team/other@sha256:{image}")):
        run(node, f"run-{number}", OTHER, image=written)
        assert (await ended(node, f"run-{number}", OTHER))[0] in ("InvalidSpec", "ImagePullFailed")
    assert created(node, OTHER) == []


async def test_an_agentimage(node: Node, here: Process) -> None:
    def ready(space: str) -> Any:
        found = node.cluster.all_images[space, "app"].get("status") or {}
        return next((c for c in found.get("conditions", []) if c["type"] == "Ready"), {})

    node.cluster.add_image(SPACE, "app", {"image": APP, "imagePullSecrets": secrets()})
    await node.until(lambda: ready(SPACE).get("status") == "True", "the image is there for us")
    for refresh in ("IfNotPresent", "Always"):
        node.cluster.add_image(OTHER, "app", {"image": APP, "pullPolicy": refresh})
        await node.until(lambda: ready(OTHER).get("reason") == "ImagePullFailed", "it is not for them")
        [told] = node.cluster.all_images[OTHER, "app"]["status"]["nodes"]
        assert told.keys() <= {"name", "problem"}, "nothing of what is in it"
        node.cluster.delete_image(OTHER, "app")
    assert f"image {OTHER}/app Present" not in node.cluster.writes, "not even for a moment"
    node.cluster.secrets[OTHER, SECRET] = dockerconfig(THEIRS)
    node.cluster.add_image(OTHER, "app", {"image": APP, "imagePullSecrets": secrets()})
    await node.until(lambda: ready(OTHER).get("status") == "True", "with credentials it is")


async def test_whether_a_tag_has_moved_is_asked_with_the_same_credentials(node: Node, here: Process) -> None:
    images, reference = here.discovery._images, parse(APP)
    tenant = PullSecrets(node.cluster, "stromboli-system").tenant(SPACE, [PullSecretName(name=SECRET)])
    assert await images.digest_in_registry(reference, tenant) == f"sha256:{status(node, 'first')['image']['id']}"
    with pytest.raises(RegistryError, match="denies access"):
        await images.digest_in_registry(reference)


async def test_finding_images(node: Node, here: Process) -> None:
    async def found(space: str) -> list[str]:
        *_, last = [step async for step in here.discovery.list(space)]
        assert not isinstance(last, Progress)
        return [row["image"] for row in last["images"]]

    assert (APP in await found(SPACE), APP in await found(OTHER)) == (True, False)
    assert (await here.discovery.inspect(SPACE, APP))["image"] == APP
    with pytest.raises(ImageMissing):
        await here.discovery.inspect(OTHER, APP)


async def test_a_session_goes_on_with_the_image_it_began_with(node: Node, here: Process, registry: Registry) -> None:
    run(node, "begins", session={"name": "story"}, imagePullSecrets=secrets())
    assert (await ended(node, "begins"))[0] == "Completed"
    assert node.cluster.all_sessions[SPACE, "story"]["spec"]["template"]["imagePullSecrets"] == secrets()
    registry.goes()
    del node.cluster.secrets[SPACE, SECRET]
    run(node, "goes-on", session={"name": "story"})
    assert (await ended(node, "goes-on"))[0] == "Completed"
    run(node, "fork", session={"name": "branch", "fork": "story"})
    assert (await ended(node, "fork"))[0] == "Completed"
    run(node, "differs", session={"name": "story"}, imagePullSecrets=secrets("another"))
    reason, message = await ended(node, "differs")
    assert reason == "InvalidSpec"
    assert message.startswith(
        f"spec.imagePullSecrets: is another, and the session story has {SECRET}; leave it out, or"
    )


async def test_a_session_of_the_other_namespace(node: Node, here: Process) -> None:
    run(node, "theirs", OTHER, session={"name": "story"})
    assert (await ended(node, "theirs", OTHER))[0] == "ImagePullFailed"
    assert (OTHER, "story") not in node.cluster.all_sessions
    template = {"template": {"image": APP}}
    session = node.cluster.add_session(OTHER, "forged", template)
    node.cluster.add_session(OTHER, "parent", template)
    for name in ("forged", "parent"):  # as if somebody could write statuses
        node.cluster.all_sessions[OTHER, name]["status"] = {"imageID": status(node, "first")["image"]["id"]}
    assert session["spec"] == template
    run(node, "resumes", OTHER, session={"name": "forged"})
    run(node, "forks", OTHER, session={"name": "branch", "fork": "parent"})
    for name in ("resumes", "forks"):
        assert (await ended(node, name, OTHER))[0] == "ImagePullFailed"
    assert created(node, OTHER) == []


async def test_the_secrets_of_policies_are_for_the_namespaces_that_they_select(node: Node, registry: Registry) -> None:
    node.cluster.labels[SPACE] = {"team": "a"}
    shared = policy(images={"pullSecrets": [{"name": "shared"}, {"name": "more", "namespace": "vault"}]})
    shared["spec"] = {
        "namespaceSelector": {"matchLabels": {"team": "a"}},
        "images": shared["spec"]["images"],
    }
    shared["metadata"] = {"name": "team-a"}
    node.cluster.all_policies.append(shared)
    node.cluster.secrets["stromboli-system", "shared"] = dockerconfig(Login("robot-a", "a guess"))
    node.cluster.secrets["vault", "more"] = dockerconfig(OURS)
    async with node.process():
        run(node, "ours")
        assert (await ended(node, "ours"))[0] == "Completed"
        run(node, "theirs", OTHER)
        assert (await ended(node, "theirs", OTHER))[0] == "ImagePullFailed"
        del node.cluster.secrets["vault", "more"]
        node.cluster.secrets["stromboli-system", "shared"] = {"password": b"abracadabra"}
        run(node, "later", image=f"{HOST}/team/app:2")
        reason, message = await ended(node, "later")
    assert reason == "ImagePullFailed"
    assert "; the Secret shared in namespace stromboli-system has no key .dockerconfigjson; its type" in message
    assert "; the Secret more in namespace vault does not exist; check" in message


async def test_the_image_of_the_cli(node: Node, registry: Registry, roots: Roots) -> None:
    name = f"{HOST}/claude/cli:1"
    node.fake.registry[name] = node.fake.image(name, root=roots.cli)
    node.cluster.labels[SPACE] = {"team": "a"}
    cli = {"image": f"{HOST}/claude/cli", "tag": "1", "pull": "IfNotPresent"}
    shared = {"namespaceSelector": {"matchLabels": {"team": "a"}}, "images": {"pullSecrets": [{"name": "shared"}]}}
    node.cluster.all_policies[:] = [policy(cli=cli), {"metadata": {"name": "team-a"}, "spec": shared}]
    node.cluster.secrets["stromboli-system", "shared"] = dockerconfig(OURS)
    async with node.process():
        run(node, "ours", image="python:3.12")
        assert (await ended(node, "ours"))[0] == "Completed"
        node.cluster.secrets[OTHER, SECRET] = dockerconfig(THEIRS)
        run(node, "theirs", OTHER, image="python:3.12", imagePullSecrets=secrets())
        await node.until(
            lambda: reason_of(status(node, "theirs", OTHER)) == "CLIImageUnavailable", "it is not for them"
        )
    assert created(node, OTHER) == []


async def test_a_registry_that_is_away_is_waited_for(
    node: Node, here: Process, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stromboli.node.pulls.FIRST_DELAY", 0.05)
    image = node.fake.registry[APP]
    registry.goes()
    node.cluster.secrets[OTHER, SECRET] = dockerconfig(THEIRS)
    run(node, "second", OTHER, imagePullSecrets=secrets())
    await node.until(
        lambda: reason_of(status(node, "second", OTHER)) == "RegistryUnavailable", "it waits for the registry"
    )
    run(node, "ours", imagePullSecrets=secrets())
    assert (await ended(node, "ours"))[0] == "Completed", "whose credentials are known"
    registry.away = False
    node.fake.registry[APP] = image
    assert (await ended(node, "second", OTHER))[0] == "Completed"


async def test_a_secret_that_has_changed_is_used_by_the_next_try(node: Node, registry: Registry) -> None:
    node.cluster.secrets[SPACE, SECRET] = dockerconfig(Login("robot-a", "a guess"))
    async with node.process():
        run(node, "first", imagePullSecrets=secrets())
        assert (await ended(node, "first"))[0] == "ImagePullFailed"
        node.cluster.secrets[SPACE, SECRET] = dockerconfig(OURS)
        run(node, "second", imagePullSecrets=secrets())
        assert (await ended(node, "second"))[0] == "Completed"


async def test_a_missing_secret_matters_only_if_the_registry_refuses(node: Node, here: Process) -> None:
    run(node, "open", image="python:3.12", imagePullSecrets=secrets("absent"))
    assert (await ended(node, "open"))[0] == "Completed"
    run(node, "both", imagePullSecrets=secrets("absent", SECRET))
    assert (await ended(node, "both"))[0] == "Completed"
    run(node, "closed", imagePullSecrets=secrets("absent"))
    reason, message = await ended(node, "closed")
    assert reason == "ImagePullFailed"
    assert "; the Secret absent does not exist; check" in message


async def test_images_that_nobody_pulled_here_are_for_everybody(node: Node, registry: Registry, roots: Roots) -> None:
    node.fake.add_image(f"{HOST}/team/loaded:1", root=roots.image)
    async with node.process():
        run(node, "theirs", OTHER, image=f"{HOST}/team/loaded:1")
        assert (await ended(node, "theirs", OTHER))[0] == "Completed"
    assert registry.asked == []


async def test_a_restart_forgets_nothing(node: Node, registry: Registry) -> None:
    async with node.process():
        run(node, "first", imagePullSecrets=secrets())
        assert (await ended(node, "first"))[0] == "Completed"
    async with node.process() as process:
        assert await process.sweep.attempt()
        run(node, "theirs", OTHER)
        assert (await ended(node, "theirs", OTHER))[0] == "ImagePullFailed"
        run(node, "ours", imagePullSecrets=secrets())
        assert (await ended(node, "ours"))[0] == "Completed"


@pytest.mark.parametrize("swept", [False, True])
async def test_killed_between_the_end_of_a_pull_and_its_record(
    node: Node, registry: Registry, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    killer = Killer()

    def write(*_: object) -> None:
        killer.dead.set()
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(PullRecords, "write", write)
        async with node.process(killer):
            run(node, "first", imagePullSecrets=secrets())
            await node.until(killer.dead.is_set, "the image is there, and the operator dies")
    node.cluster.delete_run(SPACE, "first")
    assert node.fake.find_image(APP) is not None
    async with node.process() as process:
        if swept:
            assert await process.sweep.attempt()
        run(node, "theirs", OTHER)
        assert (await ended(node, "theirs", OTHER))[0] == "ImagePullFailed"
        run(node, "ours", imagePullSecrets=secrets())
        assert (await ended(node, "ours"))[0] == "Completed"


async def test_with_the_image_goes_its_record(node: Node, here: Process, tmp_path: Path) -> None:
    node.fake.images.remove(next(image for image in node.fake.images if APP in image.tags))
    assert await here.sweep.attempt()
    assert list((node.settings.home / "access/pulled").iterdir()) == []
