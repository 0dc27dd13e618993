"""Many stacks on one node at once: each is complete, their names and networks do not collide, and all of them go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stromboli.kube.kinds import AgentSession
from tests.support import lookups, services, stacked
from tests.support.host import Host
from tests.support.podman import IsolatedPodman
from tests.support.runs import Runs, condition

STACKS = 20  # 50 take three quarters of a minute of two processors
LONGEST_NAME = 128  # characters of a container's or volume's name that everything on a node accepts
AGENT = "localhost/stromboli-test/workbench:1"
LONG = "A_very.long_Name." + "x" * 40
FILE = """
services:
  app: {{image: "{agent}", environment: {{WORD: "{word}"}}, depends_on: ["{long}"]}}
  {long}: {{image: "{busybox}", command: sleep 10000, hostname: it, volumes: ["{volume}:/rows"]}}
volumes: {{{volume}: }}
"""


def asked(name: str) -> str:
    return lookups.repeated(f"getent hosts {name}")


@pytest.mark.usefixtures("steady_operator")
def test_many_stacks_at_once(
    spaces: Callable[..., Runs], podman_env: dict[str, str], isolated_podman: IsolatedPodman, host: Host
) -> None:
    services.build("workbench", podman_env)
    busybox = isolated_podman.import_busybox()
    space = spaces("compose-many", light=True)
    names = [f"many-{n}" for n in range(STACKS)]
    fields = {"agent": AGENT, "busybox": busybox, "long": LONG, "volume": f"Rows_{'y' * 50}"}
    shell = f"echo $WORD; {asked(LONG)} | wc -l; {asked('it')} | wc -l"
    files = {name: FILE.format(**fields, word=name) for name in names}
    specs = {name: stacked.spec(shell, {"inline": files[name]}, name) for name in names}
    before = set(host.networks())
    ends = space.run_all(specs, within=2 * stacked.WITHIN)
    for name, run in ends.items():
        assert condition(run)["reason"] == "Completed", condition(run)["message"]
        assert stacked.answer(run).partition(": ")[2].split() == [name, "1", "1"]
    sessions = {name: dict(space.client.get(AgentSession, name, namespace=space.namespace)) for name in names}
    uids = [each["metadata"]["uid"] for each in sessions.values()]
    made = [part for uid in uids for part in stacked.parts(host, uid) if not part.startswith("/")]
    assert len(made) == len(set(made)) == STACKS * 5, "an agent with its volume, a service with its own, a network"
    assert max(len(part.partition(" ")[2]) for part in made) <= LONGEST_NAME
    assert len(set(host.networks()) - before) == STACKS
    space.kubectl("-n", space.namespace, "delete", "agentruns,agentsessions", "--all")
    for uid in uids:
        stacked.await_gone(host, uid, within=60.0)
