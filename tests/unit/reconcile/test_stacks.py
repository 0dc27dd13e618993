"""Runs in a service of a compose stack: how the stack comes up, what makes that fail, and what is left of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.errors import PodmanError
from stromboli.perform.stacks import reading
from stromboli.reasons import Reason
from tests.support.fake_podman import FakeContainer, Program
from tests.support.wire import reason_of
from tests.unit.reconcile.conftest import Node, policy
from tests.unit.reconcile.faults import Killer, Trouble
from tests.unit.reconcile.stacked import DATABASE, Stacked, file

OBJECTS = ("container", "volume", "network")


@pytest.fixture
def stage(node: Node, monkeypatch: pytest.MonkeyPatch) -> Stacked:
    return Stacked(node, monkeypatch)


async def test_a_run_has_its_stack_and_nothing_is_left_of_it(node: Node, stage: Stacked) -> None:
    uid = stage.up()
    stage.hold("run")
    async with node.process() as process:
        await stage.at_work("run")
        assert stage.running() == {"db", "cache"}
        [agent] = node.agents()
        networks = set(agent.body["Networks"])
        assert networks == {f"stromboli-{uid}-net-default"} == set(node.fake.networks)
        assert all(set(one.body["Networks"]) == networks for one in stage.services().values())
        assert stage.services()["db"].body["Networks"].popitem()[1]["aliases"] == ["db"]
        assert {v["Labels"].get(naming.STACK_VOLUME) for v in node.fake.volumes.values()} == {None, "data"}
        stage.let()
        await node.finished()
        await stage.quiet(process)
        assert reason_of(node.status()) == Reason.Completed
        assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] == []
        node.cluster.delete_run("space", "run")
        await node.until(lambda: stage.left(uid) == [], "nothing is left")
    assert len(node.prompts) == 1


async def test_progress_is_told_while_services_start(node: Node, stage: Stacked) -> None:
    stage.healthy.clear()
    stage.listening.clear()
    stage.up()
    async with node.process():
        await node.reason(Reason.StartingServices)
        await node.until(lambda: node.message() == "db starting, cache starting (0 of 2)", "the first message")
        assert not node.agents()
        stage.listening = {6379}
        await node.until(lambda: node.message() == "db starting, cache ready (1 of 2)", "the next message")
        assert not node.agents()
        stage.healthy.add("db")
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed
    assert stage.sent == ["run"]


async def test_services_start_in_their_order(node: Node, stage: Stacked) -> None:
    """A one-shot comes before what waits for it, and after what it needs; the agent comes last."""
    begun: list[str] = []
    play = node.play

    async def noted(container: FakeContainer) -> None:
        begun.append(container.labels.get(naming.SERVICE, "agent"))
        await play(container)

    node.fake.on_start = noted
    migrate = "migrate: {image: python:3.12, command: ['true'], depends_on: {db: {condition: service_healthy}}}"
    web = "web: {image: redis:7, depends_on: {migrate: {condition: service_completed_successfully}}}"
    stage.up(text=file(web, migrate, cache="image: redis:7, depends_on: [db]"))
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed, node.message()
    assert begun.index("db") < begun.index("migrate") < begun.index("web") < begun.index("agent")
    assert begun.index("db") < begun.index("cache")
    assert begun.count("migrate") == 1


@pytest.mark.parametrize(
    ("text", "program", "said"),
    [
        (file(), Program(0.0, 3, output=b"no space\nleft\n"), "the service db exited (3) while others waited"),
        (
            file(db="image: postgres:16", app="image: python:3.12, depends_on: [db]"),
            Program(0.0, 3, output=b"no space\nleft\n"),
            "the service db ended 5 times in a row",
        ),
        (
            file(app="image: python:3.12, depends_on: {db: {condition: service_completed_successfully}}"),
            Program(0.0, 4, output=b"no space\nleft\n"),
            "the service db exited (4), but others wait for it to succeed",
        ),
    ],
    ids=["healthy", "started", "completed"],
)
async def test_a_needed_service_that_fails(node: Node, stage: Stacked, text: str, program: Program, said: str) -> None:
    stage.programs["db"] = program
    uid = stage.up(text=text)
    async with node.process() as process:
        await node.finished()
        await stage.quiet(process)
        assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] == []
    assert reason_of(node.status()) == Reason.ServiceFailed, node.status()
    assert said in node.message()
    assert "its last lines:\nno space\nleft" in node.message()
    assert not node.prompts


async def test_a_service_that_is_never_healthy(node: Node, stage: Stacked) -> None:
    stage.healthy.clear()
    check = "{test: [CMD, ready], interval: 2ms, retries: 3}"
    stage.up(text=file(db=f"image: postgres:16, healthcheck: {check}"))
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.ServiceFailed, node.message()
    assert "the service db is unhealthy" in node.message()
    assert "not yet" in node.message()
    assert not node.prompts


async def test_a_service_that_is_not_ready_in_time(node: Node, stage: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy's limit. Whether that ends the run depends on who waits for it."""
    monkeypatch.setattr("stromboli.plan.amounts.MIN_TIMEOUT", 0.01)
    node.cluster.all_policies[:] = [policy(compose={"healthTimeout": "50ms"})]
    stage.healthy.clear()
    stage.listening.clear()
    stage.up("patient", file(db=DATABASE, app="image: python:3.12"))
    stage.up("needy", file())
    async with node.process():
        await node.finished()
    assert reason_of(node.status("patient")) == Reason.Completed
    assert reason_of(node.status("needy")) == Reason.ServiceFailed
    assert "the service db did not become healthy in time" in node.message("needy")
    assert stage.told("ServiceNotReady").count("patient") == 2
    assert stage.sent == ["patient"]


async def test_a_service_that_nobody_waits_for_fails_alone(node: Node, stage: Stacked) -> None:
    stage.fail("extra", 7, b"out of luck\n")
    stage.up(text=file("extra: {image: redis:7}"))
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed
    [said] = stage.messages("ServiceNotReady")
    assert "the service extra ended 5 times in a row" in said
    assert "out of luck" in said


async def test_a_service_that_cannot_be_created(node: Node, stage: Stacked) -> None:
    """Podman says no for ever: the run waits for it, as for every other container."""
    node.fake.fail("POST /containers/create", 500, times=1)
    stage.up()
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed
    assert stage.sent == ["run"]


async def test_what_a_service_cannot_be_started_for(node: Node, stage: Stacked) -> None:
    node.fake.fail("POST /containers/.*svc-db.*/start|POST /containers/[0-9a-f]{64}/start", 500, times=99)
    stage.up()
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.ServiceFailed
    assert "cannot be started" in node.message()
    assert not node.prompts


async def test_without_a_network_of_the_policy_the_stacks_networks_are_internal(node: Node, stage: Stacked) -> None:
    stage.hold("inside", "outside")
    inside = stage.up("inside")
    async with node.process():
        await stage.at_work("inside")
        node.cluster.all_policies[:] = [policy(network="bridge")]
        outside = stage.up("outside")
        await stage.at_work("outside")
        assert {name: n["internal"] for name, n in node.fake.networks.items() if "net-default" in name} == {
            f"stromboli-{inside}-net-default": True,
            f"stromboli-{outside}-net-default": False,
        }
        stage.let()
        await node.finished()


async def test_a_namespace_that_services_share_is_a_holders(node: Node, stage: Stacked) -> None:
    app = "image: python:3.12, network_mode: 'service:db', depends_on: {db: {condition: service_healthy}}"
    uid = stage.up(text=file(app=app))
    stage.hold("run")
    async with node.process() as process:
        await stage.at_work("run")
        [holder], [agent] = stage.holders(), node.agents()
        assert holder.status == "running"
        assert node.fake.holder(agent) is holder
        assert node.fake.holder(stage.services()["db"]) is holder
        assert node.fake.holder(stage.services()["cache"]) is None
        stage.let()
        await node.finished()
        await stage.quiet(process)
        assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] == []


async def test_a_volume_of_the_run_replaces_a_bind_of_the_file(node: Node, stage: Stacked) -> None:
    folder = node.folder / "project"
    for name in ("mine", "theirs", "more"):
        (folder / name).mkdir(parents=True)
    app = "image: python:3.12, volumes: ['./theirs:/work', './more:/more']"
    (folder / "compose.yaml").write_text(file(app=app))
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    stage.up(environment={"path": str(folder / "compose.yaml")}, volumes=[f"{folder}/mine:/work"])
    stage.hold("run")
    async with node.process():
        await stage.at_work("run")
        mounts = {m["destination"]: m["source"] for m in node.agents()[0].body["mounts"]}
        assert (mounts["/work"], mounts["/more"]) == (f"{folder}/mine", f"{folder}/more")
        more = (folder / "more").stat()
        assert stage.mounts.compared[-1] == {"/more": (more.st_dev, more.st_ino)}
        stage.let()
        await node.finished()


@pytest.mark.parametrize("inner", ["/work/inner", "/elsewhere"])
async def test_a_mount_inside_another_one_is_looked_at(node: Node, stage: Stacked, inner: str) -> None:
    folder = node.folder / "project"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    stage.mounts.intruder = naming.MANAGED
    run = node.run(volumes=[f"{folder}/one:/work", f"{folder}/two:{inner}"])
    stage.names[run["metadata"]["uid"]] = "run"
    async with node.process():
        await node.finished()
    nested = inner.startswith("/work/")
    assert reason_of(node.status()) == (Reason.InvalidSpec if nested else Reason.Completed)
    assert (naming.MANAGED in node.message()) is nested
    assert len(stage.sent) == (0 if nested else 1)


async def test_what_is_swapped_as_it_is_mounted_costs_no_attempt(node: Node, stage: Stacked) -> None:
    """A container that is put back without having run is as one that was never started."""
    folder = node.folder / "project"
    (folder / "more").mkdir(parents=True)
    (folder / "compose.yaml").write_text(file(app="image: python:3.12, volumes: ['./more:/more']"))
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    stage.mounts.swapped = {"/more"}
    stage.up(environment={"path": str(folder / "compose.yaml")})
    async with node.process():
        await node.until(lambda: len(stage.mounts.compared) > 6, "its start was tried often")
        stage.mounts.swapped = set()
        await node.finished()
    assert reason_of(node.status()) == Reason.Completed, node.message()
    assert [attempt["number"] for attempt in node.status()["attempts"]] == [1]


def with_secrets(node: Node) -> Path:
    """A stack with a file that is a secret; its path. The policy allows its folder."""
    folder = node.folder / "project"
    folder.mkdir()
    (folder / "password").write_text("hunter2")
    (folder / "compose.yaml").write_text(
        "services:\n"
        "  app: {image: python:3.12, depends_on: [db]}\n"
        "  db:\n"
        "    image: postgres:16\n"
        "    secrets:\n"
        "      - password\n"
        "      - {source: password, target: other, mode: 0440, uid: '70', gid: '70'}\n"
        "secrets: {password: {file: ./password}}\n"
    )
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    return folder / "compose.yaml"


async def test_copies_of_secrets_have_a_bound(node: Node, stage: Stacked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_SECRETS", len("hunter2"))
    stage.up(environment={"path": str(with_secrets(node))})
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.InvalidSpec
    assert "services.db.secrets[1]: is one too many" in node.message()
    assert not node.prompts


async def test_no_secret_is_left_of_an_operator_that_was_killed_before_it_made_anything(
    node: Node, stage: Stacked
) -> None:
    uid = stage.up(environment={"path": str(with_secrets(node))})
    killer = Killer()

    def die(number: int) -> None:
        if any(name == uid for _, below, _ in os.walk(node.settings.runtime_dir) for name in below):
            killer.at = number

    killer.before = die
    async with node.process(killer):
        await node.until(killer.dead.is_set, "it is killed")
    assert stage.left(uid) != []
    node.cluster.delete_run("space", "run")
    async with node.process() as process:
        assert await process.sweep.attempt()
        await node.until(lambda: stage.left(uid) == [], "nothing is left")


async def test_secrets_are_files_with_modes(node: Node, stage: Stacked) -> None:
    uid = stage.up(environment={"path": str(with_secrets(node))})
    stage.hold("run")
    async with node.process() as process:
        await stage.at_work("run")
        mounts = {m["destination"]: m for m in stage.services()["db"].body["mounts"] if m["type"] == "bind"}
        assert set(mounts) == {"/run/secrets/password", "/run/secrets/other"}
        paths = {target: Path(m["source"]) for target, m in mounts.items()}
        assert {path.read_text() for path in paths.values()} == {"hunter2"}
        modes = {target: stat.S_IMODE(path.stat().st_mode) for target, path in paths.items()}
        assert modes == {"/run/secrets/password": 0o444, "/run/secrets/other": 0o440}
        assert paths["/run/secrets/other"].stat().st_uid == 70
        assert node.settings.runtime_dir in paths["/run/secrets/other"].parents
        assert not any("secrets" in m["destination"] for m in node.agents()[0].body["mounts"] if "/run/secrets" in m)
        stage.let()
        await node.finished()
        await stage.quiet(process)
        assert not any(path.exists() for path in paths.values())
        node.cluster.delete_run("space", "run")
        await node.until(lambda: stage.left(uid) == [], "nothing is left")


async def test_images_of_the_run_come_before_the_files(node: Node, stage: Stacked) -> None:
    folder = node.folder / "project"
    folder.mkdir()
    (folder / "compose.yaml").write_text(file(cache="build: ., expose: ['6379']"))
    node.cluster.all_policies[:] = [policy(volumes={"allowed": [{"path": str(folder)}]})]
    stage.up(environment={"path": str(folder / "compose.yaml"), "images": {"cache": "redis:7"}})
    stage.hold("run")
    async with node.process():
        await stage.at_work("run")
        assert stage.services()["cache"].image_id == node.fake.find_image("docker.io/library/redis:7").id  # type: ignore[union-attr]
        stage.let()
        await node.finished()


async def test_an_image_that_is_not_allowed_pulls_and_starts_nothing(node: Node, stage: Stacked) -> None:
    node.cluster.all_policies[:] = [policy(images={"allowed": ["docker.io/library/python:*", "localhost/**"]})]
    uid = stage.up()
    async with node.process():
        await node.finished()
    assert reason_of(node.status()) == Reason.ImageNotAllowed
    assert "services.db.image" in node.message()
    assert not node.prompts
    assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] == []


async def test_fifty_stacks_of_the_same_file_do_not_meet(node: Node, stage: Stacked) -> None:
    uids = [stage.up(f"r{n}") for n in range(50)]
    stage.hold(*(f"r{n}" for n in range(50)))
    async with node.process(settings=node.settings.model_copy(update={"max_starts": 50})):
        await node.until(lambda: len(stage.sent) == 50, "all are at work")
        assert all(set(stage.services(uid)) == {"db", "cache"} for uid in uids)
        used = [frozenset(one.body["Networks"]) for uid in uids for one in stage.services(uid).values()]
        assert len(set(used)) == 50 == len(node.fake.networks)
        volumes = [v["Name"] for uid in uids for v in stage.services(uid)["db"].body["volumes"]]
        assert len(set(volumes)) == 50
        names = [*node.fake.networks, *node.fake.volumes, *(c.name for c in node.fake.containers.values())]
        assert max(map(len, names)) <= 100
        stage.let()
        await node.finished()
        await node.until(lambda: not node.fake.networks and not node.fake.volumes, "all is gone")
    assert len(node.prompts) == 50


@pytest.mark.parametrize("call", ["GET /containers/json", "DELETE /containers", "DELETE /networks", "DELETE /volumes"])
async def test_what_podman_does_not_remove_at_a_runs_end_is_left_to_the_sweep(
    node: Node, stage: Stacked, call: str
) -> None:
    trouble = Trouble(error=PodmanError("no", 500))
    uid = stage.up()
    stage.hold("run")
    async with node.process(trouble=trouble) as process:
        await node.until(lambda: stage.sent == ["run"], "it is at work")
        trouble.matching = call
        stage.let()
        await node.finished()
        await stage.quiet(process)
        assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] != []
        trouble.matching = None
        assert await process.sweep.attempt()
        assert [line for line in stage.left(uid) if line.startswith(OBJECTS)] == []
        assert await process.sweep.attempt()
        await stage.quiet(process)
        assert stage.running() == set(), "nobody has looked after it since"
    assert stage.sent == ["run"]
