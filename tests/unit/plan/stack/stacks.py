"""Services for tests, in a few words."""

from __future__ import annotations

from typing import Any

from stromboli.compose.stack import Condition, Dependency, Service

WORDS = {"": Condition.started, "healthy": Condition.healthy, "done": Condition.completed}


def service(name: str, *needs: str, **fields: Any) -> Service:
    """`needs` are dependencies: `db`, `db healthy`, `db done`; a `?` behind it makes it optional, a `!` restarts."""
    dependencies = []
    for need in needs:
        target, _, word = need.rstrip("?!").partition(" ")
        at = f"services.{name}.depends_on.{target}"
        dependencies.append(Dependency(at, target, WORDS[word], "?" not in need, "!" in need))
    return Service(name, depends_on=tuple(dependencies), **fields)


def stack(*services: Service) -> dict[str, Service]:
    return {one.name: one for one in services}
