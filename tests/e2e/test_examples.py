"""Every manifest in examples/ is applied by the commands in its comments, and ends as they say: `# Ends: REASON`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from lightkube import Client

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.kube.kinds import AgentSession
from stromboli.local import policy as demo
from stromboli.local.answers import Offline
from tests.support import images, services
from tests.support.cluster import Kubectl
from tests.support.documents import DOCUMENTS, blocks, objects
from tests.support.operator import OperatorProcess, Standin
from tests.support.runs import Object, Runs, condition

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
NAMES = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())
# The folder on the node that an example mounts is replaced by one of the test's own.
MOUNTED = "/tmp/stromboli-example"
EXAMPLE = 180.0  # seconds for a run among all the others, on a busy machine
Key = tuple[str, str]  # namespace and name


@dataclass(frozen=True)
class Example:
    """One folder of examples/: its files by name."""

    name: str
    texts: dict[str, str]

    def objects(self) -> list[tuple[str, Object]]:
        """Each object with the text of its file, and its namespace."""
        kustomization = yaml.safe_load(self.texts.get("kustomization.yaml", "{}"))
        found = []
        for file, text in self.texts.items():
            if file.endswith(".yaml") and file != "kustomization.yaml":
                obj = yaml.safe_load(text)
                obj["metadata"].setdefault("namespace", kustomization.get("namespace", "default"))
                found.append((text, obj))
        return found

    def ends(self) -> dict[Key, str]:
        """The reason with which each run has to end."""
        runs = [(text, obj["metadata"]) for text, obj in self.objects() if obj["kind"] == "AgentRun"]
        return {(meta["namespace"], meta["name"]): _ends(text) for text, meta in runs}

    def commands(self, *, applying: bool) -> list[str]:
        """The commands that apply it, or those that show its results; those with `--watch` are for people only."""
        text = "\n".join(self.texts.values())
        found = [c for c in re.findall(r"^#   ((?:kubectl|mkdir|cp) .*)$", text, re.MULTILINE) if "--watch" not in c]
        return [c for c in found if c.startswith(("kubectl apply", "mkdir", "cp")) == applying]


def _ends(text: str) -> str:
    [reason] = re.findall(r"^# Ends: (\w+)$", text, re.MULTILINE)
    return str(reason)


def read(name: str) -> Example:
    folder = EXAMPLES / name
    assert all(path.is_file() for path in folder.iterdir()), f"{folder} has folders in it"
    return Example(name, {path.name: path.read_text() for path in sorted(folder.iterdir())})


@pytest.fixture(scope="module")
def others_images(podman_env: dict[str, str]) -> None:
    """The images that the examples name, besides that of Python."""
    images.build("musl", podman_env)
    for service in ("postgres", "redis"):
        services.build(service, podman_env)


@pytest.fixture(scope="module")
def as_in_the_demo(
    steady_operator: OperatorProcess,
    policy: dict[str, Any],
    kubectl: Kubectl,
    python_image: str,
    others_images: None,
    cli_image: str,
    standin: Standin,
) -> Iterator[None]:
    """Only the policy of a local installation, adjusted to the operator's settings."""
    kubectl("delete", "agentpolicy", policy["metadata"]["name"])
    local, following = demo.created(), demo.following(Offline(), standin.socket)
    image, _, tag = cli_image.rpartition(":")
    values = {
        "cli": {"image": image, "tag": tag, "pull": "Never"},
        "defaults": {"image": python_image},
        "credentials": policy["spec"]["credentials"],
    }
    local["spec"] |= following["spec"] | values
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(local))
    yield
    kubectl("delete", "agentpolicy", local["metadata"]["name"])
    kubectl("apply", "-f", "-", stdin=json.dumps(policy))


class Shell:
    """Runs the commands in an example's comments on a copy of it that mounts the test's own folder."""

    def __init__(self, programs: Binaries, kubeconfig: Path, folder: Path) -> None:
        self._folder = folder
        self._mounted = folder / "mounted"
        path = f"{programs.folder}:{Path(sys.executable).parent}:{os.defpath}"
        self._environ = {"PATH": path, "HOME": str(kubeconfig.parent), "KUBECONFIG": str(kubeconfig)}

    def copy(self, example: Example) -> None:
        place = self._folder / "examples" / example.name
        place.mkdir(parents=True)
        for file, text in example.texts.items():
            (place / file).write_text(self._here(text))

    def __call__(self, command: str, within: float = 60) -> str:
        done = subprocess.run(
            ["sh", "-ec", self._here(command)],
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def _here(self, text: str) -> str:
        return text.replace(MOUNTED, str(self._mounted))


@pytest.fixture(scope="module")
def shell(
    as_in_the_demo: None, programs: Binaries, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Shell:
    return Shell(programs, cluster.kubeconfig, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def done(shell: Shell, kubectl: Kubectl, client: Client) -> Iterator[dict[str, dict[Key, Object]]]:
    """All examples, applied one after the other and then watched until they have finished."""
    for example in map(read, NAMES):
        shell.copy(example)
        for command in example.commands(applying=True):
            shell(command)
    yield {name: _ended(read(name), kubectl, client) for name in NAMES}
    for _, obj in (pair for name in NAMES for pair in read(name).objects()):
        where = ["-n", obj["metadata"]["namespace"]]
        kubectl(*where, "delete", "--ignore-not-found", "--wait=false", obj["kind"], obj["metadata"]["name"])
    kubectl("delete", "agentruns", "--all")  # those of the documents
    kubectl("delete", "agentsessions", "--all-namespaces", "--all")  # created by runs


def _ended(example: Example, kubectl: Kubectl, client: Client) -> dict[Key, Object]:
    found = {}
    for namespace, name in example.ends():
        runs = Runs(kubectl, client, namespace)
        found[namespace, name] = runs.ends([name], within=EXAMPLE)[name]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_ends_as_it_says(done: dict[str, dict[Key, Object]], name: str) -> None:
    expected = read(name).ends()
    assert expected, "an example without a run"
    ends = {run: condition(obj) for run, obj in done[name].items()}
    assert {run: end["reason"] for run, end in ends.items()} == expected, [end["message"] for end in ends.values()]


@pytest.mark.parametrize("name", NAMES)
def test_its_other_commands_show_something(done: dict[str, dict[Key, Object]], shell: Shell, name: str) -> None:
    assert [command for command in read(name).commands(applying=False) if not shell(command).strip()] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_file_says_what_it_is_for(name: str) -> None:
    texts = read(name).texts
    applied = [c for c in read(name).commands(applying=True) if c.startswith("kubectl")]
    assert [c for c in applied if not c.endswith(f" examples/{name}/")] == []
    assert len(applied) == 1
    assert [file for file, text in texts.items() if file.endswith(".yaml") and not text.startswith("# ")] == []


def test_the_structured_answer_is_as_its_schema_says(done: dict[str, dict[Key, Object]]) -> None:
    [run] = done["structured"].values()
    jsonschema.validate(run["status"]["result"]["structured"], run["spec"]["claude"]["jsonSchema"])


def test_a_prompt_comes_from_a_config_map(done: dict[str, dict[Key, Object]], standin: Standin) -> None:
    assert done["prompt-from"]
    asked = [str(request["user_texts"]) for request in standin.requests()]
    for text in ("a volcano that never sleeps", "Write the changelog's entry"):
        assert len([texts for texts in asked if text in texts.replace("\\'", "'")]) == 1


def test_a_stack_is_up_while_its_session_is_there(done: dict[str, dict[Key, Object]], client: Client) -> None:
    assert done["compose"]
    found = dict(client.get(AgentSession, "compose", namespace="default"))
    up = {service["name"]: service["ready"] for service in found["status"]["services"]}
    assert up["db"] is True


def test_the_documents_commands_about_stacks_are_run_as_printed(
    done: dict[str, dict[Key, Object]], shell: Shell
) -> None:
    found = [block for path in DOCUMENTS for block in blocks(path) if block.where == "compose"]
    assert {block.document for block in found} == {"README.md", "compose.md"}
    for block in found:
        shell(block.text, within=300)
    named = {obj["metadata"]["name"] for block in found for obj in objects(block) if obj["kind"] == "AgentRun"}
    assert named
    ends = {
        run["metadata"]["name"]: condition(run) for run in json.loads(shell("kubectl get agentruns -o json"))["items"]
    }
    assert {name: ends[name]["message"] for name in named if ends[name]["reason"] != "Completed"} == {}


def test_the_refusal_names_the_policy_and_what_it_allows(done: dict[str, dict[Key, Object]]) -> None:
    message = condition(done["team"]["example-team", "refused"])["message"]
    assert "example-team" in message
    assert "python:3.*" in message


def test_what_was_installed_once_is_there_and_the_conversation_goes_on(
    done: dict[str, dict[Key, Object]], standin: Standin
) -> None:
    first, second = done["hooks"]["default", "hooks-1-install"], done["hooks"]["default", "hooks-2-resume"]
    said = [[(s["hook"], s["tail"].strip()) for s in run["status"]["steps"]][:-1] for run in (first, second)]
    assert said[0][3:] == [
        ("onCreateCommand", "1"),
        ("postStart", "hello from a wheel\ninstalled"),
        ("postStart", "1"),
    ]
    assert said[1] == [("postStart", "hello from a wheel\ninstalled"), ("postStart", "2")]
    prompts = [run["spec"]["prompt"] for run in (first, second)]
    [asked] = [r for r in standin.requests() if prompts[1] in str(r["last_user_text"])]
    assert [text for text in asked["user_texts"] if text in prompts] == prompts
