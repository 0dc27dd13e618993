"""What users see of a run: conditions at every stage, columns, events, the answer; and what must not be visible."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stromboli.grammar import duration
from stromboli.reasons import AllowedReason, Reason
from tests.support.cluster import Kubectl
from tests.support.operator import OperatorProcess, Standin
from tests.support.podman import IsolatedPodman
from tests.support.runs import Object, Runs, completed, condition, finished, reason_is

API_KEY = "stand-in-key-5f1c"  # as in conftest.py
MAX_WRITES = 6
LIMIT = 32 * 1024
WIDE = "漢"  # three bytes


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("status")


@pytest.fixture(scope="module")
def ended(space: Runs, python_image: str) -> dict[str, Object]:
    cases: dict[str, dict[str, Any]] = {
        "unauthorized": {"prompt": "STATUS{401}"},
        "overlong": {"prompt": f"ECHO{{x{WIDE * 12_000}}}"},
        "just-fits": {"prompt": f"ECHO{{{'y' * LIMIT}}}"},
        "no-settings": {"prompt": "hello", "claude": {"settings": "/nowhere/settings.json"}},
        "counted": {"prompt": "BASH{true}", "claude": {"dangerouslySkipPermissions": True}},
        "fine": {"prompt": "ECHO{fine}"},
        "refused": {"prompt": "hello", "workdir": "/proc/nowhere"},
    }
    return space.run_all({name: {"image": python_image, **spec} for name, spec in cases.items()})


def is_well_formed(run: Object) -> None:
    """Check what holds at every stage, for kstatus and for people."""
    status = run["status"]
    if "conditions" not in status:
        assert status == {"observedGeneration": -1}
        return
    found = {c["type"]: c for c in status["conditions"]}
    assert len(found) == len(status["conditions"])
    assert set(found) <= {"Succeeded", "Finished", "Allowed", "Reconciling", "Stalled"}
    for each in found.values():
        assert each["observedGeneration"] == status["observedGeneration"] == run["metadata"]["generation"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", each["lastTransitionTime"])
        assert each["message"]
        known = AllowedReason if each["type"] == "Allowed" else Reason
        assert each["reason"] in [str(reason.value) for reason in known]
    succeeded = found["Succeeded"]["status"]
    assert found["Finished"]["status"] == ("False" if succeeded == "Unknown" else "True")
    assert (found.get("Reconciling", {}).get("status") == "True") == (succeeded == "Unknown")
    assert (found.get("Stalled", {}).get("status") == "True") == (succeeded == "False")
    phases = {"Unknown": ("Pending", "Running"), "True": ("Succeeded",), "False": ("Failed",)}
    assert status["phase"] in phases[succeeded]
    assert ("completionTime" in status) == (succeeded != "Unknown")
    assert ("duration" in status) == (succeeded != "Unknown" and "attempts" in status)
    assert status["node"] == "test-node"


def test_conditions_at_every_stage(space: Runs, python_image: str) -> None:
    seen: list[Object] = []
    space.apply("stages", prompt="SLEEP{1}ECHO{done}", image=python_image)
    done = space.until("stages", lambda run: seen.append(run) or finished(run))  # type: ignore[func-returns-value]
    for run in seen:
        is_well_formed(run)
    reasons = [condition(run).get("reason") for run in seen]
    assert reasons[-2:] == ["Running", "Completed"]
    assert set(reasons) <= {None, "Starting", "Running", "Completed"}
    status = done["status"]
    [attempt], [step] = status["attempts"], status["steps"]
    assert (attempt["number"], attempt["exitCode"], attempt["reason"]) == (1, 0, "Completed")
    assert status["startTime"] <= attempt["startedAt"] <= step["startedAt"] <= step["finishedAt"]
    # Podman's finish time comes from a coarser clock than the step's.
    assert step["startedAt"] < attempt["finishedAt"] <= status["completionTime"]
    assert (step["hook"], step["index"], step["state"], step["exitCode"]) == ("agent", 0, "Succeeded", 0)
    assert status["image"]["id"]
    assert status["cliImage"]["id"]
    assert condition(done)["message"] == "answered in 1 turn"


def test_ends_are_well_formed_too(ended: dict[str, Object]) -> None:
    for run in ended.values():
        is_well_formed(run)


def test_kubectl_waits_for_it(space: Runs, ended: dict[str, Object], kubectl: Kubectl, python_image: str) -> None:
    space.apply("waited-for", prompt="SLEEP{1}", image=python_image)
    said = kubectl("-n", space.namespace, "wait", "--for=condition=Finished", "arun/waited-for", "--timeout=25s")
    assert "condition met" in said
    kubectl("-n", space.namespace, "wait", "--for=condition=Succeeded", "arun/waited-for", "--timeout=5s")
    kubectl("-n", space.namespace, "wait", "--for=condition=Finished", "arun/unauthorized", "--timeout=5s")
    kubectl("-n", space.namespace, "wait", "--for=condition=Succeeded=False", "arun/unauthorized", "--timeout=5s")
    kubectl("-n", space.namespace, "wait", "--for=condition=Stalled", "arun/unauthorized", "--timeout=5s")


def test_columns(space: Runs, ended: dict[str, Object], kubectl: Kubectl, python_image: str) -> None:
    lines = kubectl("-n", space.namespace, "get", "arun", "fine", "unauthorized").splitlines()
    assert lines[0].split() == ["NAME", "SUCCEEDED", "REASON", "IMAGE", "AGE", "DURATION"]
    name, succeeded, reason, image, _, duration = lines[1].split()
    assert (name, succeeded, reason, image) == ("fine", "True", "Completed", python_image)
    assert duration == ended["fine"]["status"]["duration"]
    assert lines[2].split()[:3] == ["unauthorized", "False", "AgentFailed"]
    wide = kubectl("-n", space.namespace, "get", "agentruns.stromboli.dev", "fine", "-o", "wide").splitlines()
    assert wide[0].split()[6:] == ["TURNS", "INPUT", "OUTPUT", "COST", "SESSION"]
    usage = ended["fine"]["status"]["usage"]
    assert wide[1].split()[6:9] == [str(usage[key]) for key in ("turns", "inputTokens", "outputTokens")]
    assert float(wide[1].split()[9]) == usage["costUSD"]
    assert "fine" in kubectl("-n", space.namespace, "get", "stromboli")


def test_an_error_of_the_api_in_its_own_words(ended: dict[str, Object]) -> None:
    run = ended["unauthorized"]
    assert condition(run)["reason"] == "AgentFailed"
    assert "401" in condition(run)["message"]
    assert "the offline stand-in was asked for status 401" in condition(run)["message"]
    assert run["status"]["attempts"][-1]["exitCode"] == 1
    assert run["status"]["steps"][-1]["state"] == "Failed"


def test_a_cli_that_ends_without_an_answer(ended: dict[str, Object]) -> None:
    run = ended["no-settings"]
    assert condition(run)["reason"] == "AgentFailed"
    assert "ended with exit code 1 and no answer" in condition(run)["message"]
    assert "/nowhere/settings.json" in condition(run)["message"]
    assert "/nowhere/settings.json" in run["status"]["steps"][-1]["tail"]


def test_a_working_directory_that_cannot_be_made(ended: dict[str, Object]) -> None:
    assert condition(ended["refused"])["reason"] == "InvalidSpec"
    assert condition(ended["refused"])["message"].startswith("spec.workdir: ")


def test_a_long_answer_is_cut_between_two_characters(ended: dict[str, Object]) -> None:
    result = ended["overlong"]["status"]["result"]
    assert result["truncated"] is True
    assert result["text"] == "x" + WIDE * ((LIMIT - 1) // 3)
    result = ended["just-fits"]["status"]["result"]
    assert result == {"text": "y" * LIMIT, "truncated": False}


def test_what_it_took(ended: dict[str, Object], folder: Path) -> None:
    uid = ended["counted"]["metadata"]["uid"]
    output = folder / "home/sessions" / uid / "attempts" / f"{uid}-1" / "out/stdout"
    result = json.loads(output.read_text().splitlines()[-1])
    used = dict(ended["counted"]["status"]["usage"])
    assert [model["outputTokens"] for model in used.pop("models")] == [result["usage"]["output_tokens"]]
    assert duration.parse(used.pop("apiDuration")) == pytest.approx(result["duration_api_ms"] / 1000, abs=0.1)
    assert used == {
        "turns": result["num_turns"],
        "inputTokens": result["usage"]["input_tokens"],
        "outputTokens": result["usage"]["output_tokens"],
        "cacheReadTokens": result["usage"]["cache_read_input_tokens"],
        "cacheCreationTokens": result["usage"]["cache_creation_input_tokens"],
        "costUSD": pytest.approx(result["total_cost_usd"], abs=1e-6),
    }
    assert result["num_turns"] == 2
    assert result["usage"]["output_tokens"] > 0


def test_events(space: Runs, ended: dict[str, Object]) -> None:
    kinds = {e["reason"]: e["type"] for e in space.events("fine")}
    assert kinds == {"Started": "Normal", "Completed": "Normal"}
    failed = {e["reason"]: e for e in space.events("unauthorized")}
    assert set(failed) == {"Started", "AgentFailed"}
    assert failed["AgentFailed"]["type"] == "Warning"
    assert "status 401" in failed["AgentFailed"]["message"]
    assert failed["Started"]["involvedObject"]["uid"] == ended["unauthorized"]["metadata"]["uid"]
    assert failed["Started"]["source"]["component"] == "stromboli-operator"


def processes_of(container: Object) -> Iterator[Path]:
    """/proc folders of everything in the container's PID namespace."""
    namespace = Path(f"/proc/{container['State']['Pid']}/ns/pid").readlink()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "ns/pid").readlink() == namespace:
                yield folder
        except (FileNotFoundError, PermissionError):  # it has exited since, or is not in the container
            continue


def test_neither_prompt_nor_secret_shows_anywhere(
    space: Runs,
    steady_operator: OperatorProcess,
    standin: Standin,
    isolated_podman: IsolatedPodman,
    python_image: str,
    folder: Path,
    runtime_dir: Path,
) -> None:
    private = {n: f"private-{n}-7b1e" for n in ("prompt", "system", "appended", "settings", "agent", "value")}
    seen: list[Object] = []
    space.apply(
        "private",
        prompt=f"{private['prompt']} SLEEP{{3}}ECHO{{quiet}}",
        image=python_image,
        env=[{"name": "MINE", "value": private["value"]}],
        claude={
            "systemPrompt": private["system"],
            "appendSystemPrompt": private["appended"],
            "settings": {"env": {"A": private["settings"]}},
            "agents": {"a": {"description": "d", "prompt": private["agent"]}},
        },
    )
    running = space.until("private", reason_is("Running"))
    standin.until_asked(private["prompt"])
    [inspected] = json.loads(isolated_podman.run("inspect", running["status"]["attempts"][-1]["container"]))
    found = list(processes_of(inspected))
    commands = [(process / "cmdline").read_bytes().decode() for process in found]
    uid = running["metadata"]["uid"]
    secrets = [path.name for path in (runtime_dir / "secrets" / uid).rglob("*")]
    done = space.until("private", lambda run: seen.append(run) or finished(run))  # type: ignore[func-returns-value]
    completed(done)
    assert any("claude" in command for command in commands)
    shown = {
        "the container": json.dumps(inspected),
        "its processes": "\n".join(commands),
        "status": json.dumps([run["status"] for run in [running, *seen]]),
        "events": json.dumps(space.events("private")),
        "the operator's log": steady_operator.log.read_text(),
    }
    for where, text in shown.items():
        for words in (*private.values(), API_KEY):
            assert words not in text, where
    assert "ANTHROPIC_API_KEY" not in secrets
    assert not (runtime_dir / "secrets" / uid).exists()
    for path in (folder / "home").rglob("*"):
        if path.is_file() and path.name != "busybox":
            assert API_KEY.encode() not in path.read_bytes(), path


def writes(kubectl: Kubectl) -> int:
    """The number of writes of AgentRuns and events so far, from the API server's metrics."""
    line = re.compile(r"apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)")
    total = 0
    for match in line.finditer(kubectl("get", "--raw", "/metrics")):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        if labels["resource"] in ("agentruns", "events") and labels["verb"] in (
            "POST",
            "PUT",
            "PATCH",
            "APPLY",
            "DELETE",
        ):
            total += int(float(match["count"]))
    return total


def test_a_simple_run_takes_few_writes(
    space: Runs, ended: dict[str, Object], kubectl: Kubectl, python_image: str
) -> None:
    before = writes(kubectl)
    space.apply("frugal", prompt="SLEEP{1}ECHO{ok}", image=python_image)
    completed(space.until("frugal", finished))
    kubectl(
        "-n",
        space.namespace,
        "wait",
        "--for=create",
        "events",
        "--field-selector=involvedObject.name=frugal,reason=Completed",
        "--timeout=10s",
    )
    assert len(space.events("frugal")) == 2
    assert 3 <= writes(kubectl) - before <= MAX_WRITES
