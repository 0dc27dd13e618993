"""AgentRuns as a test applies, follows and reads them, over one connection: a kubectl each would cost more than a run.

What a person sees of kubectl (that it refuses, waits, deletes, prints) is what `Runs.kubectl` is for.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from lightkube import Client
from lightkube.config.kubeconfig import KubeConfig

from stromboli.kube.client import AgentPolicy, AgentRun, Namespace
from tests.support.cluster import Kubectl

Object = dict[str, Any]
PATIENCE = 60.0
# A namespace with this label has only the policies that its own test makes.
OWN_POLICIES = "stromboli.test/own-policies"
MANAGER = "kubectl"  # as whom fields are applied


@contextmanager
def connected(kubeconfig: Path) -> Iterator[Client]:
    """The API server, as the holder of a kubeconfig."""
    client = Client(KubeConfig.from_file(kubeconfig), field_manager=MANAGER)
    with closing(client._client._client):  # lightkube has no way to close one
        yield client


def condition(obj: Object, type_: str = "Succeeded") -> Object:
    """A condition of an object; empty where it has none."""
    found = [c for c in obj.get("status", {}).get("conditions", []) if c["type"] == type_]
    return found[0] if found else {}


def finished(obj: Object) -> bool:
    return condition(obj).get("status") in ("True", "False")


def reason_is(reason: str) -> Callable[[Object], bool]:
    def check(obj: Object) -> bool:
        return condition(obj).get("reason") == reason

    return check


def policy_body(name: str, namespace: str, spec: Mapping[str, Any]) -> Object:
    """An AgentPolicy that holds for one namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "apiVersion": "stromboli.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": name},
        "spec": {"namespaceSelector": selector, **spec},
    }


@dataclass(frozen=True)
class Runs:
    """The runs of one namespace."""

    kubectl: Kubectl
    client: Client
    namespace: str

    def body(self, name: str, **spec: Any) -> Object:
        return {
            "apiVersion": "stromboli.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def apply(self, name: str, **spec: Any) -> None:
        """Make a run; not by a patch, which is YAML, in which U+2028 ends a line."""
        self.client.create(AgentRun.from_dict(self.body(name, **spec)))

    def apply_all(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Many runs, one right after the other."""
        for name, spec in specs.items():
            self.apply(name, **spec)

    def run_all(self, specs: Mapping[str, Mapping[str, Any]], *, within: float = PATIENCE) -> dict[str, Object]:
        """Apply many runs at once and follow them to their ends, by name."""
        self.apply_all(specs)
        return self.ends(specs, within=within)

    def ends(self, names: Iterable[str], *, within: float = PATIENCE) -> dict[str, Object]:
        """Follow runs to their ends, by name."""
        return self.all_until(names, finished, within=within)

    def all_until(
        self, names: Iterable[str], enough: Callable[[Object], bool], *, within: float = PATIENCE
    ) -> dict[str, Object]:
        """Follow runs until `enough` was true of each, once; fails with what the rest were last."""
        last: dict[str, Object] = {name: {} for name in names}
        reached: dict[str, Object] = {}
        for obj in self.seen(within):
            name = obj["metadata"]["name"]
            if name not in last or name in reached:
                continue
            last[name] = obj
            if enough(obj):
                reached[name] = obj
            if len(reached) == len(last):
                return reached
        rest = {name: obj.get("status") for name, obj in last.items() if name not in reached}
        raise AssertionError(f"after {within:.0f} s: {json.dumps(rest)[:3000]}")

    def policy(self, name: str, **spec: Any) -> str:
        """Apply an AgentPolicy for this namespace alone; its full name. It goes with the fixture `spaces`."""
        full = f"{self.namespace}-{name}"
        self.client.apply(AgentPolicy.from_dict(policy_body(full, self.namespace, spec)))
        return full

    def refused(self, name: str, **spec: Any) -> str:
        """Apply what the API server has to refuse; what it says."""
        done = self.kubectl.attempt("apply", "--server-side", "-f", "-", stdin=json.dumps(self.body(name, **spec)))
        assert done.returncode != 0, f"{spec} was accepted"
        return done.stderr

    def get(self, name: str) -> Object:
        return dict(self.client.get(AgentRun, name, namespace=self.namespace))

    def delete(self, name: str) -> None:
        self.kubectl("-n", self.namespace, "delete", "agentrun", name)

    def run(self, name: str, *, within: float = PATIENCE, **spec: Any) -> Object:
        """Apply a run and follow it to its end."""
        self.apply(name, **spec)
        return self.until(name, finished, within)

    def until(self, name: str, enough: Callable[[Object], bool], within: float = PATIENCE) -> Object:
        """Follow a run until `enough` is true of it; fails with what it was last."""
        last: Object = {}
        for last in self.seen(within, name):
            if enough(last):
                return last
        raise AssertionError(
            f"{name} after {within:.0f} s: {json.dumps(last.get('status'))[:3000]}; {self._unseen(name, last)}"
        )

    def events(self, name: str) -> list[Object]:
        found = json.loads(self.kubectl("-n", self.namespace, "get", "events", "-o", "json"))
        return [e for e in found["items"] if e["involvedObject"]["name"] == name]

    def _unseen(self, name: str, last: Object) -> str:
        """Whether the API server has another version by now than the watch has told of."""
        now = self.get(name)
        if now["metadata"]["resourceVersion"] == last.get("metadata", {}).get("resourceVersion"):
            return "and the API server has nothing newer"
        return f"the watch has not told of {json.dumps(now.get('status'))[:3000]}"

    def seen(self, within: float, *name: str) -> Iterator[Object]:
        """What there is of the runs, or of one of them, and each change, for at most `within` seconds."""
        fields = {"metadata.name": name[0]} if name else None
        limit = time.monotonic() + within
        while (left := math.ceil(limit - time.monotonic())) > 0:
            try:
                for _, found in self.client.watch(
                    AgentRun, namespace=self.namespace, fields=fields, server_timeout=left
                ):
                    yield dict(found)
                    if time.monotonic() > limit:
                        return
            except httpx2.HTTPStatusError as e:
                if e.response.status_code != httpx2.codes.TOO_MANY_REQUESTS:  # a server that has just started
                    raise
                time.sleep(float(e.response.headers.get("Retry-After", "1")))


def make_namespace(client: Client, name: str, *, own_policies: bool = False) -> None:
    labels = {OWN_POLICIES: ""} if own_policies else {}
    client.create(Namespace.from_dict({"metadata": {"name": name, "labels": labels}}))
