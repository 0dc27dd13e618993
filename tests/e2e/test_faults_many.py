"""Many concurrent runs: all succeed, each prompt arrives once, and nothing is left on the host or in the operator."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from lightkube import Client

from stromboli.apart import IDLE
from stromboli.kube.kinds import AgentPolicy, AgentRun
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished, make_namespace, reason_is, watched

AT_ONCE = 8
LIGHT = 300
AT_WORK = 6
REAL = 10
PATIENCE = 240.0
# The main thread, those of asyncio's default executor (Python docs, "ThreadPoolExecutor"), and those of apart.py.
THREADS = 1 + min(32, (os.cpu_count() or 1) + 4) + IDLE
KEPT = 16  # the maximum number of idle connections to Podman that the operator keeps


def run_many(runs: Runs, marks: list[str], image: str) -> dict[str, Object]:
    """Keep eight running until all have finished. Returns the finished runs by name."""
    waiting, ended = list(reversed(marks)), {}

    def apply_next() -> None:
        if waiting:
            mark = waiting.pop()
            runs.apply(mark, prompt=f"ECHO{{{mark}}}", image=image)

    for _ in range(AT_ONCE):
        apply_next()
    for obj in runs.seen(PATIENCE):
        name = obj["metadata"]["name"]
        if finished(obj) and name not in ended:
            ended[name] = obj
            apply_next()
            if len(ended) == len(marks):
                return ended
    raise AssertionError(f"{len(ended)} of {len(marks)} runs ended in {PATIENCE:.0f} s")


def all_succeeded(ended: dict[str, Object], standin: Standin, marks: list[str]) -> None:
    for mark in marks:
        assert condition(ended[mark])["reason"] == "Completed", condition(ended[mark])["message"]
        assert ended[mark]["status"]["result"]["text"] == mark
        assert len(ended[mark]["status"]["attempts"]) == 1
    prefix = marks[0].rpartition("-")[0]
    texts = [str(request["last_user_text"]) for request in standin.requests()]
    assert "" not in texts, "an empty prompt"
    sent = sorted(text for text in texts if f"ECHO{{{prefix}-" in text)
    assert len(sent) == len(marks)
    assert all(sum(f"ECHO{{{mark}}}" in text for text in sent) == 1 for mark in marks)


def delete_all(runs: Runs, host: Host) -> None:
    """Delete all runs in the test's namespace; those of other tests may still be terminating."""
    uids = [
        str(run.metadata.uid)
        for run in runs.client.list(AgentRun, namespace=runs.namespace)
        if run.metadata is not None
    ]
    runs.client.deletecollection(AgentRun, namespace=runs.namespace)
    host.until(
        lambda: not [uid for uid in uids if (host.home / "sessions" / uid).exists()],
        "the runs' folders are gone",
        within=60,
    )


def nothing_is_left(host: Host, ended: dict[str, Object], mounts: list[str]) -> None:
    uids = {str(obj["metadata"]["uid"]) for obj in ended.values()}
    folders = {str(uid) for uid in uids if (host.home / "sessions" / uid).exists()}
    assert not folders
    host.until(lambda: not host.agents(), "no container is left")
    assert not [name for name in host.volumes() if any(uid in name for uid in uids)]
    assert not [path for path in host.runtime_dir.rglob("*") if path.name in uids]
    assert not host.networks()
    assert host.mounts() == mounts
    host.until(lambda: not host.monitors(), "no process of a container's is left")


def descriptors(pid: int) -> list[str]:
    """The open file descriptors of a process."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # closed in the meantime
            continue
    return found


def await_descriptors(pid: int, most: int) -> None:
    """If each run leaked a descriptor, there would be two hundred."""
    limit = time.monotonic() + 20
    while len(found := descriptors(pid)) > most:
        assert time.monotonic() < limit, f"more than {most} descriptors are open: {sorted(found)}"
        time.sleep(0.1)


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.fixture
def light_spaces(light_runs: Runs, client: Client, request: pytest.FixtureRequest) -> Iterator[tuple[Runs, ...]]:
    """Three namespaces with the light CLI."""
    (own,) = (p for p in client.list(AgentPolicy) if p.metadata and p.metadata.name == f"{light_runs.namespace}-light")
    spec = {k: v for k, v in dict(own)["spec"].items() if k != "namespaceSelector"}
    others = tuple(Runs(light_runs.kubectl, client, f"{light_runs.namespace}-{n}") for n in (2, 3))
    policies = []
    for runs in others:
        make_namespace(client, runs.namespace, own_policies=True)
        policies.append(runs.policy("light", **spec))
    yield (light_runs, *others)
    for runs, policy in zip(others, policies, strict=True):
        client.delete(AgentPolicy, policy)
        runs.clear()


class Told:
    """What a watch reported of many runs. `most` is the peak number at work, `order` the namespaces as runs started."""

    def __init__(self) -> None:
        self.ended: dict[tuple[str, str], Object] = {}
        self.messages: dict[tuple[str, str], set[str]] = {}
        self.order: list[str] = []
        self.most = 0
        self._working: set[tuple[str, str]] = set()

    def take(self, obj: Object) -> None:
        key, status = (obj["metadata"]["namespace"], obj["metadata"]["name"]), obj.get("status") or {}
        if status.get("attempts") and key not in self._working and key not in self.ended:
            self._working.add(key)
            self.order.append(key[0])
        if finished(obj):
            self._working.discard(key)
            self.ended[key] = obj
        elif reason_is("Queued")(obj):
            self.messages.setdefault(key, set()).add(condition(obj)["message"])
        self.most = max(self.most, len(self._working))


def test_three_hundred_runs_of_three_namespaces_at_once(
    new_operator: Callable[[], OperatorProcess],
    light_spaces: tuple[Runs, ...],
    standin: Standin,
    python_image: str,
    host: Host,
) -> None:
    """The node's limit holds, namespaces take turns, each run's place is reported, and two crashes lose nothing.

    With the light CLI: the real one would keep two cores busy for four minutes.
    """
    operator = new_operator()
    operator.environ = {"STROMBOLI_MAX_RUNS": str(AT_WORK)}
    told, crashes = Told(), [LIGHT // 3, 2 * LIGHT // 3]
    with operator:
        run_many(light_spaces[0], ["warm"], python_image)
        delete_all(light_spaces[0], host)
        mounts = host.mounts()
        operator.stop()
        for number in range(LIGHT):
            runs = light_spaces[number * len(light_spaces) // LIGHT]  # all of one namespace, then all of the next
            runs.apply(f"light-{number}", prompt=f"ECHO{{light-{number}}}", image=python_image)
        operator.start()
        opened = len(descriptors(operator.pid))
        for obj in everywhere(light_spaces):
            told.take(obj)
            if crashes and len(told.ended) >= crashes[0]:
                crashes.pop(0)
                operator.kill()
                operator.start()
                opened = len(descriptors(operator.pid))
            if len(told.ended) == LIGHT:
                break
        all_succeeded({name: obj for (_, name), obj in told.ended.items()}, standin, [*names()])
        assert told.most <= AT_WORK
        assert len(told.messages) >= LIGHT - 3 * AT_WORK, "nearly all have waited in line"
        assert max(map(len, told.messages.values())) == 1, "each place was written once"
        assert all(" in the line to start on node " in text for said in told.messages.values() for text in said)
        first = [told.order[: LIGHT // 2].count(runs.namespace) for runs in light_spaces]
        assert max(first) - min(first) <= 3 * AT_WORK, first
        for runs in light_spaces:
            delete_all(runs, host)
        nothing_is_left(host, {name: obj for (_, name), obj in told.ended.items()}, mounts)
        await_descriptors(operator.pid, opened + KEPT)
        assert threads(operator.pid) <= THREADS
        assert "Traceback" not in operator.log.read_text(errors="replace")


def names() -> Iterator[str]:
    return (f"light-{number}" for number in range(LIGHT))


def everywhere(spaces: Sequence[Runs]) -> Iterator[Object]:
    """All runs of these namespaces, and each change, for at most PATIENCE seconds."""
    wanted = {runs.namespace for runs in spaces}
    yield from (obj for obj in watched(spaces[0].client, PATIENCE) if obj["metadata"]["namespace"] in wanted)
    raise AssertionError(f"not all runs ended in {PATIENCE:.0f} s")


def test_the_real_cli_eight_at_once(
    operator: OperatorProcess, runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    mounts = host.mounts()
    marks = [f"real-{n}" for n in range(REAL)]
    ended = run_many(runs, marks, python_image)
    all_succeeded(ended, standin, marks)
    delete_all(runs, host)
    nothing_is_left(host, ended, mounts)
