"""The Secrets with credentials for registries: those that an object names in its own namespace, and those of policies.

They are read only when an image has to be pulled, or when access to it has to be shown, so a Secret that has changed is
used by the next try. One that is missing or unusable is no error, as for the kubelet: the image may be there without
it. What is wrong with it is part of the message if the registry refuses. No message has anything of their content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from stromboli.grammar.reference import Reference
from stromboli.models.agentpolicy import PullSecretRef
from stromboli.models.fields import PullSecretName
from stromboli.observe.reads import ClusterReads
from stromboli.plan import pull_secrets
from stromboli.plan.pull_secrets import Keyring, Source, Tenant


@dataclass(frozen=True, slots=True)
class PullSecrets:
    """The Secrets of a cluster; `system` is the operator's own namespace, which is the default of policies' Secrets."""

    cluster: ClusterReads
    system: str

    def tenant(
        self, namespace: str, own: Sequence[PullSecretName] | None, shared: Sequence[PullSecretRef] = ()
    ) -> Tenant:
        """The namespace, with the Secrets that it names itself, which come first, and those of its policies."""
        return Tenant(namespace, partial(self._keyring, namespace, tuple(own or ()), tuple(shared)))

    async def _keyring(
        self, namespace: str, own: Sequence[PullSecretName], shared: Sequence[PullSecretRef], reference: Reference
    ) -> Keyring:
        read = await asyncio.gather(
            *(self._read(namespace, each.name, "") for each in own),
            *(
                self._read(where := each.namespace or self.system, each.name, f" in namespace {where}")
                for each in shared
            ),
        )
        # In a thread: each may have a megabyte of patterns.
        return await asyncio.to_thread(pull_secrets.keyring, read, reference)

    async def _read(self, namespace: str, name: str, where: str) -> Source:
        data = await self.cluster.secret_data(namespace, name)
        return Source(f"the Secret {name}{where}", data)
