"""What becomes of a stack's containers when a run starts: which stay, are started, replaced, created, removed. Pure.

A container is replaced if its definition has changed (definitions.py), or if the network namespace that it shares is
another one, since it is bound to the holder that it was created with. If a holder only ended, its namespace is gone
with it, and the containers in it are restarted. A service that depends on another one with `restart: true` is restarted
when that one is replaced. What the file no longer has is removed; volumes stay, as in Compose.

Containers are known by their roles (names.py), so that services and holders are treated alike. The agent's container
is among them if its service shares a namespace: it is `completed`, since it is started for runs only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stromboli.naming import Role
from stromboli.plan.stack import definitions, names
from stromboli.plan.stack.definitions import Definition


@dataclass(frozen=True, slots=True)
class Wanted:
    """A container of the stack as the file has it now. `namespace` is the holder whose namespace it is in, and
    `restart_with` are those whose replacement restarts it, with their names for messages.
    """

    definition: Definition
    namespace: Role | None = None
    restart_with: Mapping[Role, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Existing:
    """A container that is there. `definition` is None if its label cannot be read; `completed` means that it has done
    its work, and is not to run again (restarts.py).
    """

    id: str
    definition: Definition | None
    running: bool
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """It stays as it is: it runs, or has done its work."""


@dataclass(frozen=True, slots=True)
class Start:
    """It has ended, and is started."""


@dataclass(frozen=True, slots=True)
class Restart:
    """It is stopped, and started."""

    why: str


@dataclass(frozen=True, slots=True)
class Create:
    """It does not exist."""


@dataclass(frozen=True, slots=True)
class Replace:
    """It is removed and created anew."""

    why: str


@dataclass(frozen=True, slots=True)
class Remove:
    """The file no longer has it."""


Fate = Keep | Start | Restart | Create | Replace | Remove


def plan(wanted: Mapping[Role, Wanted], existing: Mapping[Role, Existing]) -> dict[Role, Fate]:
    """What becomes of each container. Every namespace in `wanted` is one of a holder in `wanted`."""
    alone = {role: _alone(one, existing.get(role)) for role, one in wanted.items()}
    joined = {role: _joined(alone[role], one.namespace, alone, existing.get(role)) for role, one in wanted.items()}
    fates: dict[Role, Fate] = {role: Remove() for role in existing if role not in wanted}
    for role, one in wanted.items():
        replaced = [name for other, name in one.restart_with.items() if isinstance(joined.get(other), Replace)]
        runs = role in existing and existing[role].running and isinstance(joined[role], Keep)
        fates[role] = Restart(f"{replaced[0]} was replaced") if runs and replaced else joined[role]
    return fates


def stopping(fates: Mapping[Role, Fate], order: Sequence[Role]) -> tuple[Role, ...]:
    """The containers that are stopped, in that order: each before what it depends on, and holders after all others.

    `order` has those that the file has: holders first, and each service after its dependencies.
    """
    gone = [role for role in fates if role not in order]
    going = [role for role in reversed(order) if isinstance(fates.get(role), Replace | Restart)]
    services = [role for role in gone if names.is_service(role)]
    return (*services, *going, *(role for role in gone if role not in services))


def _alone(wanted: Wanted, found: Existing | None) -> Fate:
    """What becomes of it, if only it itself is looked at."""
    if found is None:
        return Create()
    if why := definitions.changes(found.definition, wanted.definition):
        return Replace(why)
    return Keep() if found.running or found.completed else Start()


def _joined(fate: Fate, namespace: Role | None, holders: Mapping[Role, Fate], found: Existing | None) -> Fate:
    """The same, in view of what becomes of the namespace that it is in."""
    if namespace is None or found is None or isinstance(fate, Replace):
        return fate
    match holders[namespace]:
        case Create() | Replace():
            return Replace("the network namespace that it shares is a new one")
        case Start() if found.running:
            return Restart("the network namespace that it shares had ended")
        case _:
            return fate
