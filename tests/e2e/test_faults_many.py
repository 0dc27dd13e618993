"""Many runs at once: all succeed, each prompt arrives once, and nothing is left, on the host or in the operator."""

from __future__ import annotations

import time
from pathlib import Path

from stromboli.kube.client import AgentRun
from tests.support.host import Host
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition, finished

AT_ONCE = 8
LIGHT = 200
REAL = 16
PATIENCE = 240.0
KEPT = 16  # connections to Podman that the operator keeps for the next call, at most


def run_many(runs: Runs, marks: list[str], image: str) -> dict[str, Object]:
    """Keep eight going until all have ended; the ended ones by name."""
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
    """All runs of the test's namespace; those of other tests may still be on their way out."""
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
    """What a process has open."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def await_descriptors(pid: int, most: int) -> None:
    """A descriptor that each run leaves would be two hundred of them."""
    limit = time.monotonic() + 20
    while len(found := descriptors(pid)) > most:
        assert time.monotonic() < limit, f"more than {most} descriptors are open: {sorted(found)}"
        time.sleep(0.1)


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def test_two_hundred_runs_eight_at_once(
    operator: OperatorProcess, light_runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    """With a CLI that costs little: the real one would take both processors for four minutes."""
    run_many(light_runs, [f"warm-{n}" for n in range(AT_ONCE)], python_image)
    delete_all(light_runs, host)
    host.until(lambda: not host.monitors(), "no process of a container's is left")
    mounts, opened, working = host.mounts(), len(descriptors(operator.pid)), threads(operator.pid)

    marks = [f"light-{n}" for n in range(LIGHT)]
    ended = run_many(light_runs, marks, python_image)
    all_succeeded(ended, standin, marks)
    delete_all(light_runs, host)
    nothing_is_left(host, ended, mounts)
    await_descriptors(operator.pid, opened + KEPT)
    assert threads(operator.pid) <= working + 4
    assert "Traceback" not in operator.log.read_text(errors="replace")


def test_the_real_cli_eight_at_once(
    operator: OperatorProcess, runs: Runs, standin: Standin, python_image: str, host: Host
) -> None:
    mounts = host.mounts()
    marks = [f"real-{n}" for n in range(REAL)]
    ended = run_many(runs, marks, python_image)
    all_succeeded(ended, standin, marks)
    delete_all(runs, host)
    nothing_is_left(host, ended, mounts)
