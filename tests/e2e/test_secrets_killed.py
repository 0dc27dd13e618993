"""A run's secrets when the operator is killed: whatever happens meanwhile, they are gone with the attempt."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from stromboli import naming
from tests.support.cluster import Kubectl
from tests.support.host import Host
from tests.support.operator import OperatorProcess
from tests.support.runs import ENDLESS, Runs, condition, finished, reason_is

WORD = "hush-3e1c9a77"


def _give(kubectl: Kubectl, namespace: str) -> None:
    """The namespace has a Secret `words` with the word."""
    data = {"WORD": base64.b64encode(WORD.encode()).decode()}
    meta = {"name": "words", "namespace": namespace}
    kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
    )


def test_after_a_kill_of_operator_and_container_they_are_gone_and_so_is_what_redaction_needed(
    light_runs: Runs, operator: OperatorProcess, host: Host, kubectl: Kubectl, python_image: str
) -> None:
    _give(kubectl, light_runs.namespace)
    light_runs.apply(
        "killed",
        image=python_image,
        prompt=f"BASH{{{ENDLESS}}}",
        lifecycle={"postStart": ["grep -q hush /run/stromboli/secret/f"]},
        envFrom=[{"secretRef": {"name": "words"}}],
        secretFiles=[{"name": "f", "secretKeyRef": {"name": "words", "key": "WORD"}}],
    )
    run = light_runs.until("killed", reason_is("Running"))
    uid = run["metadata"]["uid"]
    operator.kill()
    place = Path(f"/proc/{_process(host, uid)}/root/run/stromboli/secret/f")
    assert place.read_text() == WORD, "the container goes on"
    host.kill(naming.agent(uid).name)
    host.await_end(uid)
    assert {path.parent.parent.name for path in _with_it(host.runtime_dir)} == {"given"}, "nothing that was mounted"
    operator.start()
    run = light_runs.until("killed", finished)
    assert condition(run)["reason"] == "ContainerLost", condition(run)
    host.until(lambda: not _with_it(host.runtime_dir), "what redaction needed is gone as well")
    assert _with_it(host.home) == []
    assert WORD not in operator.log.read_text(errors="replace")


def test_a_start_that_was_cut_off_leaves_none(
    light_runs: Runs, operator: OperatorProcess, host: Host, kubectl: Kubectl, python_image: str
) -> None:
    """The run is deleted while no operator is there; what was handed over for its start is swept away."""
    _give(kubectl, light_runs.namespace)
    light_runs.apply(
        "deleted", image=python_image, prompt=f"BASH{{{ENDLESS}}}", envFrom=[{"secretRef": {"name": "words"}}]
    )
    run = light_runs.until("deleted", reason_is("Running"))
    uid = run["metadata"]["uid"]
    operator.kill()
    left = host.runtime_dir / next(path.relative_to(host.runtime_dir).parts[0] for path in _with_it(host.runtime_dir))
    (left / "secrets" / uid).mkdir(parents=True, exist_ok=True)
    (left / "secrets" / uid / "handed").write_text(
        f"{WORD}\0"
    )  # as by an operator that was killed right after the start
    light_runs.delete("deleted")
    operator.start()
    host.await_gone(uid)
    assert _with_it(host.runtime_dir) == []


def _process(host: Host, uid: str) -> str:
    return host.podman.run("inspect", "--format={{.State.Pid}}", naming.agent(uid).name).strip()


def _with_it(folder: Path) -> list[Path]:
    found = []
    for where, _, files in os.walk(folder):
        paths = [Path(where) / name for name in files]
        found += [path for path in paths if path.is_file() and WORD.encode() in path.read_bytes()]
    return found
