"""The API server's TokenReview and SubjectAccessReview without one: `stromboli.kube.reviews.Reviews` from memory."""

from __future__ import annotations

from stromboli.errors import ClusterUnavailable
from stromboli.kube.reviews import Access, Person

MINE = Access("get", "stromboli.dev", "agentsessions", "messages", "ns", "mine")


class FakeReviews:
    """Whose name is in `people` is known by it as a token; `permits` are (name, session)."""

    def __init__(self) -> None:
        self.people = {"alice", "bob"}
        self.permits = {("alice", "mine"), ("alice", "unused"), ("alice", "none")}
        self.asked: list[str] = []
        self.away = False

    async def person(self, token: str) -> Person | None:
        self._ask(f"person {token}")
        return Person(token, f"u-{token}", ("staff",), {}) if token in self.people else None

    async def allows(self, person: Person, access: Access) -> bool:
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
