"""An in-memory fake of `stromboli.kube.reviews.Reviews`: TokenReview and SubjectAccessReview without an API server."""

from __future__ import annotations

from stromboli.errors import ClusterUnavailable
from stromboli.kube.reviews import Access, Person

MINE = Access("get", "stromboli.dev", "agentsessions", "messages", "ns", "mine")


class FakeReviews:
    """Each name in `people` is also that user's token; `permits` are (user name, session)."""

    def __init__(self) -> None:
        self.people = {"alice", "bob", "root"}
        self.permits = {("alice", "mine"), ("alice", "unused"), ("alice", "none")}
        # Who may list and get AgentImages where: (user name, namespace), empty for all namespaces.
        self.image_permits = {("alice", "ns"), ("root", "ns"), ("root", "")}
        self.asked: list[str] = []
        self.away = False

    async def person(self, token: str) -> Person | None:
        self._ask(f"person {token}")
        return Person(token, f"u-{token}", ("staff",), {}) if token in self.people else None

    async def allows(self, person: Person, access: Access) -> bool:
        if access.resource == "agentimages":
            self._ask(f"access {person.username} {access.verb} {access.namespace or 'everywhere'}")
            assert (access.group, access.subresource, access.name) == ("stromboli.dev", "", "")
            return (person.username, access.namespace) in self.image_permits and access.verb in ("list", "get")
        self._ask(f"access {person.username} {access.name}")
        assert (access.verb, access.group, access.resource, access.subresource) == (
            "get",
            "stromboli.dev",
            "agentsessions",
            "messages",
        )
        return (person.username, access.name) in self.permits and access.namespace == "ns"

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.away:
            raise ClusterUnavailable("the API server: connection refused")
