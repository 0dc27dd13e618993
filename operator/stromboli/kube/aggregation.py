"""What the gateway asks the API server, with its own account: where things are, and what the aggregation layer needs.

Errors are those of kube/client.py.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from stromboli.errors import HttpFailed
from stromboli.kube import answers, reads
from stromboli.kube.faults import refused
from stromboli.kube.kinds import AgentRun, AgentSession, APIService, ConfigMap
from stromboli.kube.plain import Kind, Plain
from stromboli.kube.reads import decoded
from stromboli.naming import API_SERVICE
from stromboli.reasons import RunCondition

T = TypeVar("T")

_KINDS: Mapping[str, Kind] = {
    "agentruns": AgentRun,
    "agentsessions": AgentSession,
}
_AUTHENTICATION = ("kube-system", "extension-apiserver-authentication")


class _Metadata(msgspec.Struct):
    uid: str = ""


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct):
    node: str = ""
    conditions: list[_Condition] = msgspec.field(default_factory=list)


class _Object(msgspec.Struct):
    """An AgentRun or AgentSession; all that is large in it is skipped."""

    metadata: _Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class _APIServiceSpec(msgspec.Struct, rename={"authority": "caBundle"}):
    authority: bytes = b""  # base64 on the wire


class _APIService(msgspec.Struct):
    spec: _APIServiceSpec


@dataclass(frozen=True, slots=True)
class Located:
    """Where an AgentRun or AgentSession is; `node` is empty where no operator has it yet."""

    uid: str
    node: str
    finished: bool


class Aggregation:
    """The API server, found as kubectl finds it (in-cluster, KUBECONFIG)."""

    def __init__(self) -> None:
        """Raises InvalidSettings if nothing says where the API server is."""
        self.plain = Plain.found()

    async def close(self) -> None:
        await self.plain.close()

    async def located(self, plural: str, namespace: str, name: str) -> Located | None:
        """Where one of the `agentruns` or `agentsessions` is; None if it does not exist. The names must be valid."""
        content = await reads.content(self.plain, _KINDS[plural], namespace, name)
        if content is None:
            return None
        found = decoded(lambda data: msgspec.json.decode(data, type=_Object), content)
        finished = any(c.type == RunCondition.Finished and c.status == "True" for c in found.status.conditions)
        return Located(found.metadata.uid, found.status.node, finished)

    async def front_proxy(self) -> Mapping[str, bytes]:
        """The ConfigMap about the API server's front proxy; empty where it has none."""
        content = await reads.content(self.plain, ConfigMap, *_AUTHENTICATION)
        return {} if content is None else decoded(answers.config_map, content)

    async def api_service_authority(self) -> str | None:
        """The CA by which the API server verifies us, empty if it is not set; None without the APIService."""
        content = await reads.content(self.plain, APIService, None, API_SERVICE)
        if content is None:
            return None
        found = decoded(lambda data: msgspec.json.decode(data, type=_APIService), content)
        return found.spec.authority.decode("ascii", "replace")

    async def set_api_service_authority(self, authority: str) -> None:
        """Set that CA (PEM). Raises Conflict, Rejected."""
        encoded = base64.b64encode(authority.encode()).decode()
        operations = [{"op": "add", "path": "/spec/caBundle", "value": encoded}]
        try:
            await self.plain.patch(APIService, API_SERVICE, operations)
        except HttpFailed as e:
            raise refused(f"the caBundle of the APIService {API_SERVICE}", e) from e
