"""AgentRuns as a test applies, follows and reads them: by kubectl, as a person would."""

from __future__ import annotations

import codecs
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cluster import Kubectl

Object = dict[str, Any]
PATIENCE = 60.0


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
    program: Path
    kubeconfig: Path
    namespace: str

    def body(self, name: str, **spec: Any) -> Object:
        return {
            "apiVersion": "stromboli.dev/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }

    def apply(self, name: str, **spec: Any) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(self.body(name, **spec)))

    def apply_all(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        """Many runs by one command."""
        items = [self.body(name, **spec) for name, spec in specs.items()]
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        self.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))

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
        with self._watch() as objects:
            for obj in objects(within):
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
        self.kubectl("apply", "-f", "-", stdin=json.dumps(policy_body(full, self.namespace, spec)))
        return full

    def refused(self, name: str, **spec: Any) -> str:
        """Apply what the API server has to refuse; what it says."""
        done = self.kubectl.attempt("apply", "--server-side", "-f", "-", stdin=json.dumps(self.body(name, **spec)))
        assert done.returncode != 0, f"{spec} was accepted"
        return done.stderr

    def get(self, name: str) -> Object:
        found: Object = json.loads(self.kubectl("-n", self.namespace, "get", "agentrun", name, "-o", "json"))
        return found

    def delete(self, name: str) -> None:
        self.kubectl("-n", self.namespace, "delete", "agentrun", name)

    def run(self, name: str, *, within: float = PATIENCE, **spec: Any) -> Object:
        """Apply a run and follow it to its end."""
        self.apply(name, **spec)
        return self.until(name, finished, within)

    def until(self, name: str, enough: Callable[[Object], bool], within: float = PATIENCE) -> Object:
        """Follow a run until `enough` is true of it; fails with what it was last."""
        last: Object = {}
        with self._watch(name) as objects:
            for last in objects(within):
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
        now = self.kubectl.attempt("-n", self.namespace, "get", "agentrun", name, "-o", "json")
        seen = last.get("metadata", {}).get("resourceVersion")
        if now.returncode != 0 or json.loads(now.stdout)["metadata"]["resourceVersion"] == seen:
            return f"and the API server has nothing newer {now.stderr[:500]}".rstrip()
        return f"the watch has not told of {json.dumps(json.loads(now.stdout).get('status'))[:3000]}"

    @contextmanager
    def _watch(self, *name: str) -> Iterator[Callable[[float], Iterator[Object]]]:
        command = [self.program, "-n", self.namespace, "get", "agentrun", *name, "-o", "json", "--watch"]
        env = {"PATH": os.defpath, "HOME": str(self.kubeconfig.parent), "KUBECONFIG": str(self.kubeconfig)}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            yield lambda within: _objects(process, within)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _objects(process: subprocess.Popen[bytes], within: float) -> Iterator[Object]:
    """JSON documents as kubectl prints them one after the other, for at most `within` seconds."""
    assert process.stdout is not None
    decoder, text, limit = json.JSONDecoder(), "", time.monotonic() + within
    utf8 = codecs.getincrementaldecoder("utf-8")()
    while (left := limit - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            return
        chunk = os.read(process.stdout.fileno(), 1 << 20)
        if not chunk:
            return
        text += utf8.decode(chunk)
        while text := text.lstrip():
            try:
                obj, end = decoder.raw_decode(text)
            except ValueError:
                break
            yield obj
            text = text[end:]
