"""examples/watch/README.md, typed by a user with a client certificate; and who may read which logs.

The way is the real one: the API server decides who asks, the gateway finds the node, the operator answers.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightkube import Client

from stromboli.controlplane.binaries import Binaries
from stromboli.controlplane.cluster import Cluster
from stromboli.kube.kinds import AgentPolicy
from stromboli.naming import AGENTS_API
from tests.support import people
from tests.support.cluster import Kubectl
from tests.support.documents import ROOT, blocks
from tests.support.gateways import GatewayProcess
from tests.support.operator import OperatorProcess
from tests.support.runs import Runs, condition, make_namespace

pytestmark = pytest.mark.usefixtures("steady_operator", "gateway")
JANE, BOT = "watch-jane", "watch-bot"  # namespaces, and the users to whom they belong
SECONDS = 120.0


@dataclass(frozen=True)
class Person:
    """Somebody with a shell in a checkout of the project, and a kubeconfig."""

    programs: Binaries
    kubeconfig: Path

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        with self.typing(command, stderr=subprocess.STDOUT) as process:
            said, _ = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, said)

    @contextmanager
    def typing(self, command: str, stderr: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
        """A script that runs inside the block."""
        path = f"{self.programs.folder}:{Path(sys.executable).parent}:{os.defpath}"
        process = subprocess.Popen(
            ["sh", "-ec", command],
            cwd=ROOT,
            env={"PATH": path, "HOME": str(self.kubeconfig.parent), "KUBECONFIG": str(self.kubeconfig)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def jane(
    cluster: Cluster,
    kubectl: Kubectl,
    client: Client,
    programs: Binaries,
    folder: Path,
    python_image: str,
) -> Iterator[Person]:
    """She logs in with a client certificate, and may use Stromboli in her own namespace."""
    make_namespace(client, JANE)
    _may_use(kubectl, JANE, f"--user={JANE}")
    runs = Runs(kubectl, client, JANE)
    default = runs.policy("default", defaults={"image": python_image})
    yield Person(programs, people.certificate_user(cluster, folder / JANE, JANE, namespace=JANE))
    runs.clear()
    client.delete(AgentPolicy, default)


@pytest.fixture(scope="module")
def bot(cluster: Cluster, kubectl: Kubectl, client: Client, programs: Binaries, folder: Path) -> Iterator[Person]:
    """A ServiceAccount that may use Stromboli in its own namespace."""
    make_namespace(client, BOT)
    _may_use(kubectl, BOT, f"--serviceaccount={BOT}:{BOT}")
    yield Person(programs, people.service_account(kubectl, cluster, folder / BOT, BOT, BOT))
    Runs(kubectl, client, BOT).clear()


def _may_use(kubectl: Kubectl, namespace: str, whom: str) -> None:
    kubectl("-n", namespace, "create", "rolebinding", "uses", "--clusterrole=stromboli-user", whom)


def test_the_readme_of_the_example(jane: Person, kubectl: Kubectl) -> None:
    typed = blocks(ROOT / "examples/watch/README.md")
    assert len(typed) == 5
    done = jane.types("\n".join(f"echo '=== {block}'\n{block.text}" for block in typed))
    said = done.stdout
    assert done.returncode == 0, said
    assert said.count("preparing, step 1 of 10") == 3, "followed, read again, and of the second run"
    assert said.count("preparing, step 10 of 10") == 1, "of the second run"
    assert said.count("\nCanceled: ") >= 1, said
    assert "This answer comes from Stromboli's offline stand-in" in said
    assert "-- answered after 1 turn" in said
    found = json.loads(kubectl("-n", JANE, "get", "agentruns", "-o", "json"))["items"]
    ends = {run["metadata"]["name"]: condition(run)["reason"] for run in found}
    assert ends.pop("watch") == "Canceled"
    assert list(ends.values()) == ["Completed"]


def test_everybody_reads_the_logs_of_their_own_namespace_only(
    jane: Person, bot: Person, kubectl: Kubectl, client: Client, python_image: str
) -> None:
    for namespace in (JANE, BOT):
        runs = Runs(kubectl, client, namespace)
        runs.run_all({"mine": {"prompt": f"ECHO{{said in {namespace}}}", "image": python_image}})
    for person, own, others in ((jane, JANE, BOT), (bot, BOT, JANE)):
        done = person.types("stromboli logs mine")
        assert (done.returncode, f"said in {own}\n" in done.stdout) == (0, True), done.stdout
        refused = person.types(f"stromboli logs mine -n {others}")
        assert (refused.returncode, f"said in {others}" in refused.stdout) == (1, False)
        assert "forbidden" in refused.stdout
        log = f"{AGENTS_API}/namespaces/{{}}/agentruns/mine/log"
        raw = person.types(f"kubectl get --raw {log.format(own)}")
        assert (raw.returncode, f"said in {own}" in raw.stdout) == (0, True), raw.stdout
        refused = person.types(f"kubectl get --raw {log.format(others)}")
        assert (refused.returncode, "agentruns/log" in refused.stdout) == (1, True), refused.stdout


def test_what_the_real_cli_writes_is_shown(jane: Person, kubectl: Kubectl, client: Client, python_image: str) -> None:
    """The events of the CLI's present version, as they are understood here."""
    asked = {
        "works": {"prompt": "BASH{echo hello; sleep 1}", "claude": {"allowedTools": ["Bash"]}},
        "fails": {"prompt": "BASH{echo no >&2; exit 3}", "claude": {"allowedTools": ["Bash"]}},
        "denied": {"prompt": "BASH{touch /etc/x}", "claude": {"permissionMode": "dontAsk"}},
        "pieces": {"prompt": "SLOWSTREAM{3}", "claude": {"includePartialMessages": True}},
        "turns": {"prompt": "LOOP{true}", "claude": {"allowedTools": ["Bash"], "maxTurns": 2}},
    }
    Runs(kubectl, client, JANE).run_all({name: {"image": python_image, **spec} for name, spec in asked.items()})
    said = {name: jane.types(f"stromboli logs {name}") for name in asked}
    assert {name: done.returncode for name, done in said.items()} == dict.fromkeys(asked, 0)
    texts = {name: done.stdout.splitlines() for name, done in said.items()}
    assert all(lines[0].startswith("-- Claude Code 2.") for lines in texts.values())
    assert re.fullmatch(r"\[Bash\] echo hello; sleep 1 … ok, [1-9]\.[0-9] s", texts["works"][1])
    assert re.fullmatch(r"\[Bash\] echo no >&2; exit 3 … failed, [0-9.]+ s: Exit code 3 no", texts["fails"][1])
    assert texts["denied"][1].startswith("[Bash] touch /etc/x … denied: ")
    assert texts["denied"][-2] == "-- denied: 1 tool use (Bash)"
    assert texts["pieces"][1].startswith("piece 1 piece 2 piece 3 This answer comes from")
    assert len(texts["pieces"]) == 3, "each piece once, and not the whole once more"
    assert texts["turns"][-2].startswith("-- the CLI reports: Reached maximum number of turns")
    assert texts["turns"][-1].startswith("-- failed after 3 turns, ")


def test_a_follower_misses_nothing_while_gateway_and_operator_come_and_go(
    jane: Person,
    kubectl: Kubectl,
    client: Client,
    python_image: str,
    gateway: GatewayProcess,
    steady_operator: OperatorProcess,
) -> None:
    runs = Runs(kubectl, client, JANE)
    claude = {"allowedTools": ["Bash"], "maxTurns": 30}
    runs.apply("long", prompt="LOOP{sleep 0.3}", image=python_image, claude=claude)
    with jane.typing("exec stromboli logs -f --raw long") as follower:
        assert follower.stdout is not None
        seen = [follower.stdout.readline() for _ in range(5)]
        gateway.kill()
        gateway.start()
        seen += [follower.stdout.readline() for _ in range(5)]
        steady_operator.kill()
        steady_operator.start()
        rest = follower.stdout.read()
        assert follower.wait(SECONDS) == 0
    whole = jane.types("stromboli logs --raw long").stdout
    assert whole.count('"tool_result"') > 20
    assert "".join(seen) + rest == whole
