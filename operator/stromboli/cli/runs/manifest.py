"""An AgentRun from the command line, and from a manifest that it completes. Pure, but for generated names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stromboli import bounds
from stromboli.errors import LocalFailure
from stromboli.naming import API_VERSION

KIND = "AgentRun"
PREFIX = "run-"  # of the names of runs that were given none
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes generates names: no words come out, nothing looks alike
_CONTROLS = ("cancel", "suspend")

Object = dict[str, Any]


def read(text: bytes, origin: str) -> Object:
    """The one AgentRun in a manifest. Raises LocalFailure."""
    try:
        documents = [each for each in bounds.yaml_documents(text, bounds.DOCUMENT) if each is not None]
    except ValueError as e:
        raise LocalFailure(f"{origin} is not a manifest: {e}", code=2) from e
    runs = [each for each in documents if isinstance(each, dict) and each.get("kind") == KIND]
    if len(runs) != 1 or len(documents) != 1:
        raise LocalFailure(
            f"{origin} has {len(documents)} objects, {len(runs)} of them AgentRuns",
            "give a file with one AgentRun and nothing else; `kubectl apply -f` creates everything else",
            2,
        )
    run = runs[0]
    if run.get("apiVersion") != API_VERSION:
        raise LocalFailure(f"{origin}: apiVersion is {run.get('apiVersion')!r}, not {API_VERSION}", code=2)
    for key in ("metadata", "spec"):
        if not isinstance(run.setdefault(key, {}), dict):
            raise LocalFailure(f"{origin}: {key} is not an object", code=2)
    return run


def completed(run: Object | None, spec: Mapping[str, Any], labels: Mapping[str, str]) -> Object:
    """A manifest with values for its spec, by their paths (`claude.model`). Volumes and lists of tools are added to
    those of the manifest, variables replace those of the same name, all else is replaced.
    """
    made: Object = run or {"metadata": {}, "spec": {}}
    made = {"apiVersion": API_VERSION, "kind": KIND, **made}
    for path, value in spec.items():
        if value is not None and value != ():
            _set(made["spec"], path.split("."), value)
    if "prompt" in spec and spec["prompt"] is not None:
        made["spec"].pop("promptFrom", None)
    if labels:
        made["metadata"]["labels"] = {**(made["metadata"].get("labels") or {}), **labels}
    return made


def _set(into: Object, path: Sequence[str], value: Any) -> None:
    *parents, last = path
    for parent in parents:
        if not isinstance(into.get(parent), dict):
            into[parent] = {}
        into = into[parent]
    before = into.get(last)
    if isinstance(value, tuple):
        before = before if isinstance(before, list) else []
        names = [each["name"] for each in value if _is_named(each)]
        into[last] = [each for each in before if not (_is_named(each) and each["name"] in names)]
        into[last] += [each for each in value if each not in into[last]]
    else:
        into[last] = value


def _is_named(entry: Any) -> bool:
    return isinstance(entry, dict) and "name" in entry


def named(run: Object, namespace: str, name: str | None, prefix: str | None) -> Object:
    """The run with its namespace and its name; one without a name gets a generated one, so that it is known before the
    run is created.
    """
    about = run["metadata"]
    about["namespace"] = namespace
    if name:
        about["name"] = name
        about.pop("generateName", None)
    elif prefix or not about.get("name"):
        prefix = prefix or about.get("generateName") or PREFIX
        about["generateName"] = prefix
        about["name"] = generated(prefix)
    return run


def generated(prefix: str) -> str:
    """A name as Kubernetes generates it."""
    return prefix[:58] + "".join(secrets.choice(_LETTERS) for _ in range(5))


def again(run: Mapping[str, Any]) -> Object:
    """A new run of what another one ran: the same spec, but for what controlled that run. Labels with a prefix are not
    copied, since tools recognize by them what is theirs, nor annotations.
    """
    about = run["metadata"]
    labels = {key: value for key, value in (about.get("labels") or {}).items() if "/" not in key}
    prefix = about.get("generateName") or f"{about['name']}-"
    made: Object = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"generateName": prefix, **({"labels": labels} if labels else {})},
        "spec": {key: value for key, value in run["spec"].items() if key not in _CONTROLS},
    }
    return named(made, about["namespace"], None, None)


def variable(text: str, environ: Mapping[str, str]) -> Object:
    """`NAME=VALUE`, or `NAME` with its value in the environment. Raises LocalFailure."""
    name, equals, value = text.partition("=")
    if not equals:
        if name not in environ:
            raise LocalFailure(f"-e {name}: the environment has no such variable", f"write -e {name}=VALUE", 2)
        value = environ[name]
    return {"name": name, "value": value}


def volume(text: str, folder: Path) -> str:
    """`HOST:CONTAINER[:ro|rw]`; a host folder that begins with a dot is one of this machine's, from `folder` on."""
    host, colon, rest = text.partition(":")
    if not host.startswith("."):
        return text
    return f"{os.path.normpath(folder / host)}{colon}{rest}"


def label(text: str) -> tuple[str, str]:
    """`KEY=VALUE`. Raises LocalFailure."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise LocalFailure(f"-l {text}: write KEY=VALUE", code=2)
    return key, value
