"""How the local API server finds the gateway: the objects, and whether it does.

The gateway listens on this machine's loopback, outside the cluster's network, which a Service of type ExternalName
allows. The certificate to verify it by is not here: the gateway writes it into the APIService.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from stromboli import bounds
from stromboli.controlplane.cluster import Cluster
from stromboli.errors import LocalFailure
from stromboli.local.answers import NAMESPACE
from stromboli.local.kubectl import Kubectl
from stromboli.naming import AGENTS_API, AGENTS_GROUP, API_SERVICE, GATEWAY_SERVICE, GROUP, VERSION

_SECONDS = 60.0
_AGAIN = 0.05
_LONGEST = 300  # characters of an answer that are shown
# The API server looks at an APIService that has changed at once, and at one that failed after up to half a minute.
_LOOKED = f"{GROUP}/looked-for"
_PRIORITY = 100  # among groups, and among versions: of no importance, but required


def objects(port: int) -> list[dict[str, Any]]:
    """The namespace, the Service and the APIService for a gateway at this port of the loopback."""
    metadata = {"name": GATEWAY_SERVICE, "namespace": NAMESPACE}
    service = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
    registered = {
        "group": AGENTS_GROUP,
        "version": VERSION,
        "groupPriorityMinimum": _PRIORITY,
        "versionPriority": _PRIORITY,
        "service": {**metadata, "port": port},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": registered,
        },
    ]


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The way from the API server of `cluster` to the gateway."""

    cluster: Cluster

    def problem(self) -> str | None:
        """Why the API server does not reach the gateway; None if it does."""
        status, body = self.cluster.get(AGENTS_API)
        if status == HTTPStatus.OK:
            return None
        if status == 0:
            return f"the API server does not answer: {body}"
        return f"the API server answers {status} for {AGENTS_API}: {self._condition() or body.strip()[:_LONGEST]}"

    def await_reached(self, kubectl: Kubectl) -> None:
        """Return once requests pass. Raises LocalFailure, with the reason that the API server gives."""
        limit = time.monotonic() + _SECONDS
        if not self._reached():
            kubectl("annotate", "--overwrite", "apiservice", API_SERVICE, f"{_LOOKED}={time.time():.3f}")
        while not self._reached():
            if time.monotonic() > limit:
                raise LocalFailure(
                    f"the gateway is not reached after {_SECONDS:.0f} s: {self.problem()}",
                    "the logs of gateway and kube-apiserver say more; `stromboli status` has their paths",
                )
            time.sleep(_AGAIN)

    def _reached(self) -> bool:
        return self.cluster.get(AGENTS_API)[0] == HTTPStatus.OK

    def _condition(self) -> str:
        """What the APIService says about it; empty if it says nothing."""
        _, body = self.cluster.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{API_SERVICE}")
        try:
            conditions = bounds.json_document(body, bounds.ANSWER)["status"]["conditions"]
            return next(str(c["message"]) for c in conditions if c["type"] == "Available")
        except (ValueError, KeyError, TypeError, StopIteration):
            return ""
