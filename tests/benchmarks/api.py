"""The benchmarks' client of the API server: plain HTTP with one connection pool, as the administrator.

It uses neither kubectl nor a Kubernetes client library, so that their time is not measured by mistake.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2 as httpx
import yaml

from stromboli.naming import API_VERSION, GROUP, VERSION

Object = dict[str, Any]
WRITES = ("POST", "PUT", "PATCH", "DELETE", "APPLY", "DELETECOLLECTION")
READS = ("GET", "LIST")
# One line of the API server's metrics, in Prometheus' text format.
_REQUESTS = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>[0-9.e+]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Api:
    """The API server of the local control plane, from its kubeconfig. Errors are httpx's."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._client = httpx.Client(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {user['token']}"},
            verify=ssl.create_default_context(cadata=authority),
            trust_env=False,
            timeout=30.0,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def create_run(self, namespace: str, name: str, spec: Object) -> Object:
        return self._ask("POST", runs_path(namespace), json=run(namespace, name, spec))

    def change_run(self, namespace: str, name: str, spec: Object) -> Object:
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._ask("PATCH", f"{runs_path(namespace)}/{name}", json={"spec": spec}, headers=headers)

    def runs(self, namespace: str) -> Object:
        """The list of a namespace's runs, with the resourceVersion from which to watch."""
        return self._ask("GET", runs_path(namespace))

    def write_status(self, obj: Object, status: Object) -> Object:
        path = f"{runs_path(obj['metadata']['namespace'])}/{obj['metadata']['name']}/status"
        return self._ask("PUT", path, json={**obj, "status": status})

    def delete_runs(self, namespace: str) -> None:
        self._ask("DELETE", runs_path(namespace))

    def session(self, namespace: str, name: str) -> Object:
        return self._ask("GET", f"{sessions_path(namespace)}/{name}")

    def delete_session(self, namespace: str, name: str) -> None:
        self._ask("DELETE", f"{sessions_path(namespace)}/{name}")

    def create_image(self, namespace: str, name: str, spec: Object) -> Object:
        body = {**run(namespace, name, spec), "kind": "AgentImage"}
        return self._ask("POST", images_path(namespace), json=body)

    def image(self, namespace: str, name: str) -> Object:
        return self._ask("GET", f"{images_path(namespace)}/{name}")

    def images(self, namespace: str) -> list[Object]:
        found: list[Object] = self._ask("GET", images_path(namespace))["items"]
        return found

    def delete_image(self, namespace: str, name: str) -> None:
        self._ask("DELETE", f"{images_path(namespace)}/{name}")

    def delete_images(self, namespace: str) -> None:
        self._ask("DELETE", images_path(namespace))

    @contextmanager
    def watch_runs(self, namespace: str, since: str) -> Iterator[Iterator[str]]:
        """Watch a namespace's runs. The watch is established when the block begins. Yields its lines."""
        query = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "3600"}
        silence = httpx.Timeout(30.0, read=3600.0)
        with self._client.stream("GET", runs_path(namespace), params=query, timeout=silence) as response:
            response.raise_for_status()
            yield response.iter_lines()

    def writes(self) -> Counter[str]:
        """The number of writes the API server has served so far, by verb and resource, from its own metrics.

        Leases are not counted: the API server renews one of its own every few seconds.
        """
        return self._requests(WRITES)

    def reads(self) -> Counter[str]:
        """The same for reads of objects and lists, watches not among them."""
        return self._requests(READS)

    def _requests(self, verbs: Collection[str]) -> Counter[str]:
        text = self._client.get("/metrics").raise_for_status().text
        counted: Counter[str] = Counter()
        for line in _REQUESTS.finditer(text):
            labels = dict(_LABEL.findall(line["labels"]))
            if labels["verb"] in verbs and labels["resource"] != "leases":
                subresource = f"/{labels['subresource']}" if labels["subresource"] else ""
                counted[f"{labels['verb']} {labels['resource']}{subresource}"] += int(float(line["count"]))
        return counted

    def _ask(self, method: str, path: str, **options: Any) -> Object:
        response = self._client.request(method, path, **options)
        response.raise_for_status()
        found: Object = response.json()
        return found


def run(namespace: str, name: str, spec: Object) -> Object:
    """An AgentRun manifest."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def runs_path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/agentruns"


def sessions_path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/agentsessions"


def images_path(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/agentimages"
