"""examples/images/ is what a Git repository would have: in whatever order it is applied, it comes to the same end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client

from stromboli.kube.kinds import AgentImageKind, AgentPolicy, AgentRun
from tests.support import images
from tests.support.agentimages import AgentImages, ready_is, reasons
from tests.support.runs import Object, Runs, condition, finished

FILES = sorted((Path(__file__).parent.parent.parent / "examples/images").glob("[2-9]*.yaml"))  # 1 is the namespace
KINDS: dict[str, Any] = {"AgentImage": AgentImageKind, "AgentPolicy": AgentPolicy, "AgentRun": AgentRun}
READY = {"python": "Present", "alpine": "Present", "refused": "ImageNotAllowed"}
ENDS = {
    "python": {"Ready": ("True", "Present"), "Allowed": ("True", "Allowed"), "Compatible": ("True", "Compatible")},
    "alpine": {
        "Ready": ("True", "Present"),
        "Allowed": ("True", "Allowed"),
        "Compatible": ("False", "ImageIncompatible"),
    },
    "refused": {
        "Ready": ("False", "ImageNotAllowed"),
        "Allowed": ("False", "ImageNotAllowed"),
        "Stalled": ("True", "ImageNotAllowed"),
    },
}
ORDERS = {"as-numbered": (0, 1, 2, 3, 4), "reversed": (4, 3, 2, 1, 0), "mixed": (2, 4, 1, 0, 3)}


def there(space: AgentImages, runs: Runs, obj: Object) -> None:
    """Wait until the operator is done with an object for now."""
    name = obj["metadata"]["name"]
    if obj["kind"] == "AgentImage":
        space.until(name, lambda found: bool(condition(found, "Ready")))
    elif obj["kind"] == "AgentRun":
        runs.until(name, finished)


@pytest.mark.parametrize("step_by_step", [False, True], ids=["at once", "step by step"])
@pytest.mark.parametrize("order", ORDERS)
def test_in_any_order_it_comes_to_the_same_end(
    spaces: Callable[..., Runs],
    client: Client,
    podman_env: dict[str, str],
    python_image: str,
    order: str,
    step_by_step: bool,
) -> None:
    for name in ("glibc", "musl"):
        images.build(name, podman_env)
    runs = spaces(f"git-{order}-{step_by_step:d}", light=True)
    space = AgentImages(client, runs.namespace)
    for place in ORDERS[order]:
        obj = yaml.safe_load(FILES[place].read_text())
        meta = obj["metadata"]
        if obj["kind"] == "AgentPolicy":
            meta["name"] = f"{runs.namespace}-images"
            obj["spec"]["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": runs.namespace}}
        else:
            meta["namespace"] = runs.namespace
        client.apply(KINDS[obj["kind"]].from_dict(obj))
        if step_by_step:
            there(space, runs, obj)
    done = runs.until("images", finished)
    assert condition(done)["reason"] == "Completed", condition(done)["message"]
    found = {name: space.until(name, _settled(reason)) for name, reason in READY.items()}
    assert {name: reasons(obj) for name, obj in found.items()} == ENDS
    space.clear()


def _settled(reason: str) -> Callable[[Object], bool]:
    """`Ready` has the reason, and the policy of the example is known to have been applied."""

    def check(obj: Object) -> bool:
        return ready_is(reason)(obj) and condition(obj, "Allowed").get("reason") in ("Allowed", "ImageNotAllowed")

    return check
