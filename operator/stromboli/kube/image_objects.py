"""The AgentImages of one namespace, as a user of the cluster handles them: found, created, read, deleted.

All calls raise LocalFailure: ApiRefused with the API server's status and words, or ApiUnreachable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stromboli.errors import ApiRefused
from stromboli.kube import objects
from stromboli.kube.user import IMAGES, User
from stromboli.models.image import AgentImage
from stromboli.naming import API_VERSION


class ImageObjects:
    """Those of the user's namespace."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._namespace = user.namespace

    def all(self) -> Iterator[AgentImage]:
        """Every AgentImage of the namespace."""
        return map(objects.image, self._user.list(IMAGES, self._namespace).items)

    def create(self, name: str, image: str, secrets: Sequence[str] = ()) -> AgentImage | None:
        """A new one for this image, pulled with these Secrets; None if there is one of that name."""
        spec: dict[str, object] = {"image": image}
        if secrets:
            spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
        body = {
            "apiVersion": API_VERSION,
            "kind": AgentImage.KIND,
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": spec,
        }
        try:
            return objects.image(self._user.create(IMAGES, self._namespace, body))
        except ApiRefused as refused:
            if refused.status == 409:
                return None
            raise

    def get(self, name: str) -> AgentImage | None:
        """The one of that name, if there is one."""
        try:
            return objects.image(self._user.get(IMAGES, self._namespace, name))
        except ApiRefused as refused:
            if refused.status == 404:
                return None
            raise

    def delete(self, image: AgentImage) -> None:
        """Delete it, unless it is gone already, or its name is another one's now."""
        try:
            self._user.delete(IMAGES, self._namespace, image.name, uid=image.uid)
        except ApiRefused as refused:
            if refused.status not in (404, 409):
                raise
