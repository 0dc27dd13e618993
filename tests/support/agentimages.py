"""Applies, watches and reads AgentImages over one API connection, as runs.py does with runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lightkube import Client
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from stromboli.kube.kinds import AgentImageKind
from tests.support.runs import PATIENCE, Object, condition, watched


def ready_is(reason: str) -> Callable[[Object], bool]:
    """Whether `Ready` has that reason, for the spec as it is now."""

    def check(obj: Object) -> bool:
        observed = obj.get("status", {}).get("observedGeneration")
        return observed == obj["metadata"]["generation"] and condition(obj, "Ready").get("reason") == reason

    return check


def reasons(obj: Object) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition."""
    return {c["type"]: (c["status"], c["reason"]) for c in obj.get("status", {}).get("conditions", [])}


@dataclass(frozen=True)
class AgentImages:
    """The AgentImages of one namespace."""

    client: Client
    namespace: str

    def apply(self, name: str, image: str, **spec: Any) -> None:
        """Create one."""
        meta = {"name": name, "namespace": self.namespace}
        self.client.create(AgentImageKind.from_dict({"metadata": meta, "spec": {"image": image, **spec}}))

    def change(self, name: str, **spec: Any) -> None:
        """Change fields of its spec."""
        self.client.patch(AgentImageKind, name, {"spec": spec}, namespace=self.namespace, patch_type=PatchType.MERGE)

    def get(self, name: str) -> Object:
        return dict(self.client.get(AgentImageKind, name, namespace=self.namespace))

    def delete(self, name: str) -> None:
        self.client.delete(AgentImageKind, name, namespace=self.namespace)

    def ready(self, name: str, image: str, **spec: Any) -> Object:
        """Create one and watch it until its image is there."""
        self.apply(name, image, **spec)
        return self.until(name, ready_is("Present"))

    def until(self, name: str, enough: Callable[[Object], bool], within: float = PATIENCE) -> Object:
        """Watch one until `enough` is true for it; fails with its last status."""
        last: Object = {}
        for last in self.seen(name, within):
            if enough(last):
                return last
        raise AssertionError(f"{name} after {within:.0f} s: {json.dumps(last.get('status'))[:3000]}")

    def seen(self, name: str, within: float = PATIENCE) -> Iterator[Object]:
        """Each version of one that a watch reports."""
        return watched(self.client, within, self.namespace, name, kind="agentimages")

    def events(self, name: str, reason: str) -> list[str]:
        """The messages of its events with that reason."""
        found = self.client.list(Event, namespace=self.namespace, fields={"involvedObject.name": name})
        return [str(event.message) for event in found if event.reason == reason]

    def clear(self) -> None:
        """Delete all of them."""
        self.client.deletecollection(AgentImageKind, namespace=self.namespace)
