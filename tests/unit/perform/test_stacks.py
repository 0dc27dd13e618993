"""What users learn about a stack."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from stromboli.compose.stack import SecretMount
from stromboli.errors import Refused
from stromboli.models.run import Run
from stromboli.node.stacks.running import Replaced, Told, Unready
from stromboli.node.stacks.tending import Ended
from stromboli.perform.stacks.starts import StackStarts
from stromboli.plan.stack.order import Failure


class Heard:
    """Stands in for the notifier: the keys of events."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def emit(self, _: Run, __: object, ___: str, *, key: str) -> None:
        self.keys.append(key)


def keys(*happened: Told) -> list[str]:
    none, heard = cast(Any, None), Heard()
    starts = StackStarts(none, none, none, none, cast(Any, heard), lambda _: None)
    starts._users["session"] = cast(Any, object())
    for one in happened:
        starts.tell("session", one)
    return heard.keys


def test_a_service_that_crashes_in_a_loop_is_one_event() -> None:
    first, second, other = keys(Ended("db", 1, "at 10:01"), Ended("db", 1, "at 10:02"), Ended("db", 2, "at 10:03"))
    assert first == second != other


def test_one_without_which_the_agent_begins_is_one_event_however_often_it_crashes() -> None:
    five, six, other = keys(
        *(Unready(Failure("db", "services.db", f"ended {n} times in a row, with exit code 1"), "") for n in (5, 6)),
        Unready(Failure("db", "services.db", "is unhealthy"), ""),
    )
    assert five == six != other


def test_whatever_else_happens_is_an_event_each_time() -> None:
    assert len(set(keys(Replaced("db", "its image changed"), Replaced("db", "its command changed")))) == 2


def test_a_secret_that_an_operator_without_root_cannot_give_away_is_refused_by_its_key() -> None:
    class Folder:
        def note_stack(self) -> None: ...

        def write_given(self, *_: object) -> None: ...

        def write_stack_secret(self, *_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

    none, site = cast(Any, None), SimpleNamespace(folder=lambda _: Folder())
    secret = SecretMount("secrets.key.file", "services.db.secrets[0]", "key", "/run/secrets/key", uid=999)
    services = {"db": SimpleNamespace(secrets=[secret])}
    prepared = SimpleNamespace(secrets={"key": b"x"}, selected=SimpleNamespace(services=services))
    starts = StackStarts(cast(Any, site), none, none, none, none, lambda _: None)
    with pytest.raises(Refused, match=r"^spec.environment: services.db.secrets\[0\]: has a uid or a gid"):
        starts._secrets("session", cast(Any, prepared))
