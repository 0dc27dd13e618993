"""Applies, watches and reads AgentRuns over one API connection: a kubectl process each would cost more than a run.

`Runs.kubectl` is for tests of what a user sees in kubectl: waiting, deletion of namespaces, output.
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
import pytest
from lightkube import ApiError, Client
from lightkube.config.kubeconfig import KubeConfig
from lightkube.resources.core_v1 import Event

from stromboli.kube.kinds import AgentPolicy, AgentRun, AgentSession, Namespace
from stromboli.naming import API_VERSION
from tests.support.cluster import Kubectl

Object = dict[str, Any]
PATIENCE = 60.0
SLOW = 10.0  # seconds more than the server was given that it may take to end a watch
# A namespace with this label has only the policies that its own test creates.
OWN_POLICIES = "stromboli.test/own-policies"
MANAGER = "kubectl"  # the field manager
# A command that goes on for ever, the first time in a container. The CLI refuses to run a long sleep and nothing else,
# and its agent would be done at once (seen: 2.1.332). The second time it ends: a conversation may have been cut off
# before the answer to its prompt, which the API then gets once more, together with the sentence of a later attempt.
ENDLESS = "test -e /begun && exit; touch /begun; until [ -e /never ]; do sleep 1; done"


@contextmanager
def connected(kubeconfig: Path) -> Iterator[Client]:
    """A client of the API server with a kubeconfig."""
    client = Client(KubeConfig.from_file(kubeconfig), field_manager=MANAGER)
    with closing(client._client._client):  # lightkube has no way to close one
        yield client


def condition(obj: Object, type_: str = "Succeeded") -> Object:
    """A condition of an object; empty if it is not set."""
    found = [c for c in obj.get("status", {}).get("conditions", []) if c["type"] == type_]
    return found[0] if found else {}


def completed(obj: Object, *more: str) -> Object:
    """A run that has to have completed. If it has not, all of its message is shown, and `more`: of a tuple in an
    assertion, pytest shows a part.
    """
    found = condition(obj)
    assert found.get("reason") == "Completed", "\n".join((json.dumps(found, ensure_ascii=False), *more))
    return obj


def finished(obj: Object) -> bool:
    return condition(obj).get("status") in ("True", "False")


def reason_is(reason: str) -> Callable[[Object], bool]:
    def check(obj: Object) -> bool:
        return condition(obj).get("reason") == reason

    return check


def policy_body(name: str, namespace: str, spec: Mapping[str, Any]) -> Object:
    """An AgentPolicy that selects one namespace."""
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
        """Create a run. Not by server-side apply, whose body is YAML, in which U+2028 is a line break."""
        self.client.create(AgentRun.from_dict(self.body(name, **spec)))

    def apply_all(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Create many runs, one right after the other."""
        for name, spec in specs.items():
            self.apply(name, **spec)

    def run_all(self, specs: Mapping[str, Mapping[str, Any]], *, within: float = PATIENCE) -> dict[str, Object]:
        """Create many runs at once and watch them until all have finished. Returns them by name."""
        self.apply_all(specs)
        return self.ends(specs, within=within)

    def ends(self, names: Iterable[str], *, within: float = PATIENCE) -> dict[str, Object]:
        """Watch runs until all have finished. Returns them by name."""
        return self.all_until(names, finished, within=within)

    def all_until(
        self, names: Iterable[str], enough: Callable[[Object], bool], *, within: float = PATIENCE
    ) -> dict[str, Object]:
        """Watch runs until `enough` has been true once for each; fails with the last status of the others."""
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
        """Apply an AgentPolicy for this namespace only. Returns its full name. The fixture `spaces` removes it."""
        full = f"{self.namespace}-{name}"
        self.client.apply(AgentPolicy.from_dict(policy_body(full, self.namespace, spec)))
        return full

    def refused(self, name: str, **spec: Any) -> str:
        """Apply a run that the API server has to reject. Returns its error message, which is what kubectl prints."""
        with pytest.raises(ApiError) as caught:
            self.client.apply(AgentRun.from_dict(self.body(name, **spec)))
        return str(caught.value.status.message)

    def get(self, name: str) -> Object:
        return dict(self.client.get(AgentRun, name, namespace=self.namespace))

    def delete(self, name: str) -> None:
        self.client.delete(AgentRun, name, namespace=self.namespace)

    def run(self, name: str, *, within: float = PATIENCE, **spec: Any) -> Object:
        """Create a run and watch it until it has finished."""
        self.apply(name, **spec)
        return self.until(name, finished, within)

    def until(self, name: str, enough: Callable[[Object], bool], within: float = PATIENCE) -> Object:
        """Watch a run until `enough` is true for it; fails with its last status."""
        last: Object = {}
        for last in self.seen(within, name):
            if enough(last):
                return last
        raise AssertionError(
            f"{name} after {within:.0f} s: {json.dumps(last.get('status'))[:3000]}; {self._unseen(name, last)}"
        )

    def events(self, name: str) -> list[Object]:
        found = self.client.list(Event, namespace=self.namespace, fields={"involvedObject.name": name})
        return [event.to_dict() for event in found]

    def clear(self) -> None:
        """Delete the runs and sessions. Deleting the namespace has every kind looked for that the API server knows."""
        for kind in (AgentRun, AgentSession):
            self.client.deletecollection(kind, namespace=self.namespace)

    def _unseen(self, name: str, last: Object) -> str:
        """Whether the API server has a newer version than the last one that the watch reported."""
        now = self.get(name)
        if now["metadata"]["resourceVersion"] == last.get("metadata", {}).get("resourceVersion"):
            return "and the API server has nothing newer"
        return f"the watch did not report {json.dumps(now.get('status'))[:3000]}"

    def seen(self, within: float, *name: str) -> Iterator[Object]:
        """All runs, or the named one, and then each change of them, for at most `within` seconds."""
        return watched(self.client, within, self.namespace, *name)


def watched(
    client: Client, within: float, namespace: str = "", *name: str, kind: str = "agentruns"
) -> Iterator[Object]:
    """All runs of a namespace or of all, or the named one, and then each change, for at most `within` seconds.

    `kind` is the plural of another kind.

    lightkube's own watch begins again whenever the server ends it, and never ends where nothing happens any more.
    """
    path = f"/apis/{API_VERSION}{f'/namespaces/{namespace}' if namespace else ''}/{kind}"
    limit = time.monotonic() + within
    while (left := math.ceil(limit - time.monotonic())) > 0:
        query = {"watch": "true", "timeoutSeconds": str(left)}
        query |= {"fieldSelector": f"metadata.name={name[0]}"} if name else {}
        with client._client._client.stream("GET", path, params=query, timeout=left + SLOW) as response:
            if response.status_code == httpx2.codes.TOO_MANY_REQUESTS:  # a server that has just started
                time.sleep(float(response.headers.get("Retry-After", "1")))
                continue
            response.raise_for_status()
            for line in response.iter_lines():
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    yield event["object"]
                if time.monotonic() > limit:
                    return


def make_namespace(client: Client, name: str, *, own_policies: bool = False) -> None:
    labels = {OWN_POLICIES: ""} if own_policies else {}
    client.create(Namespace.from_dict({"metadata": {"name": name, "labels": labels}}))
