"""What the gateway and the operators share through the API server: a Secret with keys, and where the operators listen.

Both are in the operator's namespace. Errors are those of kube/client.py, which the gateway does without: it knows of no
kind but by name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from stromboli.errors import HttpFailed
from stromboli.kube import answers, reads
from stromboli.kube.faults import refused
from stromboli.kube.kinds import ConfigMap, Secret
from stromboli.kube.plain import Kind, Plain
from stromboli.kube.reads import decoded
from stromboli.naming import GATEWAY_KEYS, OPERATORS


class System:
    """The two objects in one namespace."""

    def __init__(self, plain: Plain, namespace: str) -> None:
        self._plain = plain
        self._namespace = namespace

    async def keys(self) -> Mapping[str, bytes] | None:
        """The data of the Secret; None if it does not exist."""
        found = await reads.content(self._plain, Secret, self._namespace, GATEWAY_KEYS)
        return None if found is None else decoded(answers.secret, found)

    async def create_keys(self, data: Mapping[str, str]) -> None:
        """Create the Secret. Raises Conflict if it exists (or the namespace does not), Rejected."""
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        await self._create(Secret, {"kind": "Secret", "metadata": {"name": GATEWAY_KEYS}, "data": encoded})

    async def operators(self) -> Mapping[str, str] | None:
        """`host:port` of each node's operator; None if none has said so."""
        found = await reads.content(self._plain, ConfigMap, self._namespace, OPERATORS)
        if found is None:
            return None
        return {node: address.decode(errors="replace") for node, address in decoded(answers.config_map, found).items()}

    async def publish(self, node: str, address: str) -> None:
        """Say where the node's operator listens, unless that is known. Raises Conflict if others write it, Rejected."""
        known = await self.operators()
        if known is None:
            body = {"kind": "ConfigMap", "metadata": {"name": OPERATORS}, "data": {node: address}}
            await self._create(ConfigMap, body)
        elif known.get(node) != address:
            # JSON patch adds a member to an object, which must be there.
            path, value = (f"/data/{_escaped(node)}", address) if known else ("/data", {node: address})
            operations = [{"op": "add", "path": path, "value": value}]
            try:
                await self._plain.patch(ConfigMap, OPERATORS, operations, namespace=self._namespace)
            except HttpFailed as e:
                raise refused(f"the address of node {node} in the ConfigMap {OPERATORS}", e) from e

    async def _create(self, kind: Kind, body: Mapping[str, object]) -> None:
        try:
            await self._plain.create(kind, {"apiVersion": "v1", **body}, namespace=self._namespace)
        except HttpFailed as e:
            raise refused(f"a new {body['kind']} in the namespace {self._namespace}", e) from e


def _escaped(key: str) -> str:
    """As it is written in a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")
