"""A run that is shown, and one that is followed to its end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stromboli.cli.logs import follow as module
from stromboli.cli.logs.follow import Chosen, Gone, follow, show
from stromboli.cli.logs.output import Log
from stromboli.cli.logs.screen import Screen
from stromboli.errors import ApiRefused, LocalFailure
from stromboli.kube.kubeconfig import Place
from stromboli.kube.user import Object, User
from tests.support.fake_api_server import LIMIT, FakeApiServer, Refusal
from tests.support.fake_logs import FakeLogs
from tests.support.stream_json import ends, result, says, uses

END = "-- answered after 2 turns, 1.5 s: 38 tokens in (10 cached), 14 out, $0.0004\n"


class Stream(io.TextIOWrapper):
    """Standard output or error of a test."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def data(self) -> bytes:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()

    @property
    def text(self) -> str:
        return self.data.decode()


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer().serving() as served:
        yield served


@pytest.fixture
def logs(server: FakeApiServer) -> FakeLogs:
    return FakeLogs(server)


@pytest.fixture
def user(server: FakeApiServer) -> Iterator[User]:
    with User(Place("a test", server.url, "ns", token="t")) as made:
        yield made


def status(reason: str, message: str = "", *attempts: tuple[int, str, str]) -> dict[str, Any]:
    good = {"Completed": "True"}.get(reason)
    bad = "False" if reason in ("Canceled", "AgentFailed", "ImageNotAllowed", "OutOfMemory") else "Unknown"
    succeeded = {"type": "Succeeded", "status": good or bad, "reason": reason, "message": message}
    entries = [{"number": number, "reason": ended, "promptSent": sent} for number, ended, sent in attempts]
    return {"conditions": [succeeded], "attempts": entries}


RUNNING = status("Running", "the agent is at work", (1, "", ""))
DONE = status("Completed", "answered in 2 turns", (1, "Completed", "Yes"))


def added(server: FakeApiServer, now: dict[str, Any] | None = None, **spec: Any) -> Object:
    obj = {"metadata": {"name": "a", "namespace": "ns"}, "spec": {"prompt": "x", **spec}, "status": now or {}}
    return server.add("agentruns", obj)


class Follower:
    """Follows run `a` in a thread."""

    def __init__(self, user: User, chosen: Chosen | None = None, *, uid: str = "", **screen: Any) -> None:
        self.out, self.err = Stream(terminal=screen.pop("terminal", False)), Stream(terminal=screen.pop("tty", False))
        self.final: Object | None = None
        self.error: BaseException | None = None
        shown = Screen(live=True, out=self.out, err=self.err, **screen)

        def run() -> None:
            try:
                self.final = follow(user, "ns", "a", shown, chosen, uid=uid)
            except BaseException as e:  # noqa: BLE001 - it is raised again in the test's thread
                self.error = e

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def until(self, text: str) -> None:
        """Wait until that is shown."""
        ends = time.monotonic() + LIMIT
        while text not in self.out.text + self.err.text:
            assert time.monotonic() < ends, (text, self.out.text, self.err.text)
            assert self._thread.is_alive(), (text, self.out.text, self.err.text, self.error)
            time.sleep(0.005)

    def done(self) -> Object:
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), f"it does not end: {self.out.text}{self.err.text}"
        if self.error:
            raise self.error
        assert self.final is not None
        return self.final


def shown(user: User, chosen: Chosen | None = None, **screen: Any) -> tuple[str, str]:
    out, err = Stream(), Stream()
    show(user, "ns", "a", Screen(out=out, err=err, **screen), chosen or Chosen())
    return out.text, err.text


def test_what_there_is_of_a_run_that_has_ended(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE)
    logs.write(says("Hello.") + uses("t") + result("t", at=1) + ends(), end=True)
    assert shown(user) == (f"Hello.\n[Bash] ls / … ok, 1.0 s\n{END}", "")


def test_what_there_is_of_one_that_runs(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, RUNNING)
    logs.write(says("Hello.") + uses("t"))
    assert shown(user) == ("Hello.\n[Bash] ls / … no result\n", "")


def test_hooks_come_first_each_with_its_name(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    lifecycle = {"onCreateCommand": ["a", "b"], "updateContentCommand": ["c"], "postStartCommand": ["d"]}
    added(server, DONE, lifecycle=lifecycle)
    logs.write(b"one\x1b[2J\n", step="onCreateCommand[0]", end=True)
    logs.write(b"", step="onCreateCommand[1]", end=True)
    logs.write(b"no end", step="onCreateCommand[2]", end=True)
    logs.write(says("Hello."), end=True)
    out, err = shown(user)
    assert out == "one\\x1b[2J\nno end\nHello.\n"
    assert err == "-- onCreateCommand[0]\n-- onCreateCommand[2]\n", "not those without output"
    assert [query.get("step") for query in logs.asked] == [
        *(f"onCreateCommand[{n}]" for n in range(3)),
        "postStart[0]",  # the attempt has no such step
        "agent",
    ]


def test_one_step(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE, lifecycle={"postStart": ["x"]})
    logs.write(b"one\n", step="postStart[0]", end=True)
    logs.write(b"warning\n", step="stderr", end=True)
    assert shown(user, Chosen(step="postStart[0]")) == ("one\n", "")
    assert shown(user, Chosen(step="stderr")) == ("warning\n", "")
    with pytest.raises(ApiRefused, match="no step postStart"):
        shown(user, Chosen(step="postStart[7]"))


def test_an_attempt_by_its_number(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("Completed", "", (1, "OutOfMemory", "Yes"), (2, "Completed", "Yes")))
    logs.write(says("first"), 1, end=True)
    logs.write(says("second"), 2, end=True)
    assert shown(user)[0] == "second\n"
    assert shown(user, Chosen(attempt=1))[0] == "first\n"


def test_raw_is_what_the_cli_wrote_and_nothing_else(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE, lifecycle={"postStart": ["x"]})
    logs.write(b"one\n", step="postStart[0]", end=True)
    data = says("Hello.") + b"\xff\x1b[2J\r\nhalf \xf0\x9f"
    logs.write(data, end=True)
    out, err = Stream(), Stream()
    show(user, "ns", "a", Screen(raw=True, out=out, err=err), Chosen(only_agent=True))
    assert (out.data, err.text) == (data, "")
    terminal = Stream(terminal=True)
    show(user, "ns", "a", Screen(raw=True, out=terminal, err=err), Chosen(only_agent=True))
    assert terminal.text == says("Hello.").decode() + "\\xff\\x1b[2J\nhalf \\xf0\\x9f\n"


def test_a_beginning_that_is_not_kept(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE)
    logs.write(says("Hello.") + says("World.") + ends(), end=True)
    logs.outputs[1, "agent"].kept = 20
    assert shown(user) == (f"World.\n{END}", "-- 20 bytes before this are no longer kept\n")


def test_what_is_older_was_not_asked_for(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE, lifecycle={"postStart": ["x"]})
    logs.write(b"installed\n", step="postStart[0]", end=True)
    logs.write(says("Hello."))
    recent = len(logs.outputs[1, "agent"].data)
    logs.write(says("World."), end=True)
    logs.outputs[1, "agent"].recent = recent
    assert shown(user, Chosen(since=300)) == ("World.\n", "")


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, "has not started yet: no operator has seen the run yet"),
        (status("Queued", "2 before it"), "has not started yet: Queued: 2 before it"),
        (status("ImageNotAllowed", "no pattern"), "ended before it started an agent: ImageNotAllowed: no pattern"),
    ],
)
def test_nothing_to_show(user: User, server: FakeApiServer, logs: FakeLogs, now: dict[str, Any], words: str) -> None:
    added(server, now)
    with pytest.raises(LocalFailure, match=words):
        shown(user)


def test_a_run_that_is_not_there(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    words = "there is no AgentRun a in the namespace ns"
    with pytest.raises(LocalFailure, match=words):
        shown(user)
    with pytest.raises(LocalFailure, match=words):
        Follower(user).done()


def test_one_is_followed_from_before_its_start_to_its_end(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server)
    follower = Follower(user)
    server.until(lambda: server.watches, "it is watched")
    server.status("a", status("Queued", "1 before it"))
    follower.until("Queued: 1 before it\n")
    server.status("a", status("Pulling", "1.0 of 9.0 MiB"))
    follower.until("Pulling: 1.0 of 9.0 MiB\n")
    server.status("a", status("Starting", "", (1, "", "")))
    logs.until_open(0, asked=2)  # the container has no output yet
    logs.write(says("Hello."))
    follower.until("Hello.\n")
    server.status("a", RUNNING)
    logs.write(uses("t"))
    follower.until("[Bash] ls /")
    logs.write(result("t", at=2) + ends(), end=True)
    server.status("a", DONE)
    assert follower.done()["status"] == DONE
    assert follower.out.text == f"Hello.\n[Bash] ls / … ok, 2.0 s\n{END}"
    assert follower.err.text == "Queued: 1 before it\nPulling: 1.0 of 9.0 MiB\nCompleted: answered in 2 turns\n"


def test_one_that_has_ended(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE)
    logs.write(says("Hello."), end=True)
    follower = Follower(user)
    assert follower.done()["status"] == DONE
    assert (follower.out.text, follower.err.text) == ("Hello.\n", "Completed: answered in 2 turns\n")


def test_one_that_is_refused(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server)
    follower = Follower(user)
    server.until(lambda: server.watches, "it is watched")
    server.status("a", status("ImageNotAllowed", "no pattern"))
    assert follower.done()
    assert (follower.out.text, follower.err.text) == ("", "ImageNotAllowed: no pattern\n")


def test_attempts_come_one_after_the_other(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, RUNNING)
    logs.write(says("first"))
    follower = Follower(user)
    follower.until("first\n")
    logs.end()
    server.status("a", status("Retrying", "the next attempt begins at 13:00", (1, "OutOfMemory", "Yes")))
    follower.until("Retrying: the next attempt begins at 13:00\n")
    logs.write(says("second"), 2, end=True)
    logs.write(says("third"), 3, end=True)
    attempts = ((1, "OutOfMemory", "Yes"), (2, "ContainerLost", "No"), (3, "Completed", "Yes"))
    server.status("a", status("Completed", "answered", *attempts))
    follower.done()
    assert follower.out.text == "first\nsecond\nthird\n"
    assert follower.err.text == (
        "Retrying: the next attempt begins at 13:00\n"
        "attempt 2 begins: attempt 1 ended as OutOfMemory; its prompt was sent\n"
        "attempt 3 begins: attempt 2 ended as ContainerLost; its prompt was not sent\n"
        "Completed: answered\n"
    )


def test_a_chosen_attempt_is_followed_to_its_own_end(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("Running", "", (1, "OutOfMemory", "Yes"), (2, "", "")))
    logs.write(says("first"), 1, end=True)
    logs.write(says("second"), 2)
    follower = Follower(user, Chosen(attempt=1))
    follower.done()
    assert (follower.out.text, follower.err.text) == ("first\n", "")


def test_an_attempt_that_never_had_output_does_not_hold_it_up(
    user: User, server: FakeApiServer, logs: FakeLogs
) -> None:
    added(server, status("Starting", "", (1, "", "")))
    follower = Follower(user)
    logs.until_open(0, asked=2)
    server.status("a", status("Canceled", "before it began", (1, "Canceled", "No")))
    follower.done()
    assert follower.err.text == "Canceled: before it began\n"


def test_hooks_are_followed_before_the_agent(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("RunningHooks", "", (1, "", "")), lifecycle={"postStart": ["x"]})
    logs.write(b"install", step="postStart[0]")
    follower = Follower(user)
    follower.until("install")
    logs.write(b"ed\n", step="postStart[0]", end=True)
    logs.write(says("Hello."), end=True)
    server.status("a", DONE)
    follower.done()
    assert follower.out.text == "installed\nHello.\n"
    assert follower.err.text == "-- postStart[0]\nCompleted: answered in 2 turns\n"


def test_hooks_of_a_sessions_first_run_are_not_waited_for_in_a_later_one(
    user: User, server: FakeApiServer, logs: FakeLogs
) -> None:
    lifecycle = {"onCreateCommand": ["x"], "postStart": ["y"]}
    added(server, status("RunningHooks", "", (1, "", "")), lifecycle=lifecycle)
    logs.to_come = {"onCreateCommand[0]", "postStart[0]", "agent"}
    logs.write(b"", step="supervisor")  # the attempt has begun
    follower = Follower(user)
    logs.until_open(0, asked=4)
    logs.write(b"start", step="postStart[0]")
    follower.until("start")
    logs.write(b"ed\n", step="postStart[0]", end=True)
    logs.write(says("Hello."), end=True)
    server.status("a", DONE)
    follower.done()
    assert follower.out.text == "started\nHello.\n"
    assert not [query for query in logs.asked if query.get("step") == "onCreateCommand[0]" and "follow" in query]


def test_hooks_that_have_not_begun_are_waited_for(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    lifecycle = {"onCreateCommand": ["x"], "postStart": ["y"]}
    added(server, status("Starting", "", (1, "", "")), lifecycle=lifecycle)
    logs.to_come = {"onCreateCommand[0]", "postStart[0]", "agent"}
    logs.write(b"", step="supervisor")
    follower = Follower(user)
    logs.until_open(0, asked=4)
    logs.write(b"installed\n", step="onCreateCommand[0]", end=True)
    follower.until("installed")
    logs.write(b"started\n", step="postStart[0]", end=True)
    logs.write(says("Hello."), end=True)
    server.status("a", DONE)
    follower.done()
    assert follower.out.text == "installed\nstarted\nHello.\n"
    assert follower.err.text.startswith("-- onCreateCommand[0]\n-- postStart[0]\n")


def test_an_attempt_that_ends_before_its_hooks(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("Starting", "", (1, "", "")), lifecycle={"onCreateCommand": ["x"]})
    logs.to_come = {"onCreateCommand[0]", "agent"}
    logs.write(b"", step="supervisor")
    follower = Follower(user)
    logs.until_open(0, asked=4)
    server.status("a", status("Canceled", "before it began", (1, "Canceled", "No")))
    logs.write(b"", end=True)
    follower.done()
    assert (follower.out.text, follower.err.text) == ("", "Canceled: before it began\n")


def test_raw_says_that_hooks_run(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("RunningHooks", "postStart[0]", (1, "", "")), lifecycle={"postStart": ["x"]})
    logs.write(says("Hello."), end=True)
    follower = Follower(user, Chosen(only_agent=True), raw=True)
    follower.until("RunningHooks: postStart[0]")
    server.status("a", DONE)
    follower.done()
    assert follower.out.data == says("Hello.")


def test_an_interruption_ends_the_line_and_says_nothing_about_it(
    user: User, server: FakeApiServer, logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(server, RUNNING)
    logs.write(uses("t"))
    follower = Follower(user)
    follower.until("[Bash]")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Log, "open", interrupted)
    logs.drop()
    with pytest.raises(KeyboardInterrupt):
        follower.done()
    assert follower.out.text == "[Bash] ls /\n"


@pytest.mark.parametrize("when", ["waiting", "running"])
def test_a_run_that_is_deleted_meanwhile(user: User, server: FakeApiServer, logs: FakeLogs, when: str) -> None:
    added(server, RUNNING if when == "running" else status("Queued"))
    logs.write(uses("t"))
    follower = Follower(user)
    follower.until("Queued" if when == "waiting" else "[Bash]")
    server.remove("a")
    logs.end()
    with pytest.raises(Gone, match="AgentRun ns/a was deleted"):
        follower.done()
    assert follower.out.text == ("" if when == "waiting" else "[Bash] ls / … no result\n"), "the line is whole"


@pytest.mark.parametrize("when", ["waiting", "running"])
@pytest.mark.parametrize("replaced", [False, True], ids=["", "replaced"])
def test_a_run_that_is_deleted_as_soon_as_it_has_ended(
    user: User, server: FakeApiServer, logs: FakeLogs, when: str, replaced: bool
) -> None:
    """By a time to live of 0, before the follower has seen how it ended."""
    first = added(server, RUNNING if when == "running" else status("Queued"))
    logs.uid = first["metadata"]["uid"]
    logs.write(uses("t"))
    follower = Follower(user)
    follower.until("Queued" if when == "waiting" else "[Bash]")
    server.drop()
    server.status("a", DONE)
    server.remove("a")
    if replaced:
        added(server, RUNNING)
    logs.end()
    final = follower.done()
    assert final["metadata"]["uid"] == first["metadata"]["uid"]
    assert final["status"] == DONE
    assert "answered in 2 turns" in follower.err.text


@pytest.mark.parametrize("when", ["waiting", "running"])
def test_a_run_that_is_replaced_by_one_of_the_same_name(
    user: User, server: FakeApiServer, logs: FakeLogs, when: str
) -> None:
    first = added(server, RUNNING if when == "running" else status("Queued"))
    logs.uid = first["metadata"]["uid"]
    logs.write(says("of the first"))
    follower = Follower(user)
    follower.until("Queued" if when == "waiting" else "of the first")
    server.remove("a")
    second = added(server, RUNNING)
    logs.uid = second["metadata"]["uid"]
    logs.drop()
    why = "was deleted" if when == "waiting" else "there is another run of that name now"
    with pytest.raises(Gone, match=why):
        follower.done()
    assert "of the second" not in follower.out.text


def test_only_the_run_with_that_uid(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE)
    with pytest.raises(Gone, match="another run"):
        Follower(user, uid="another").done()


def test_logs_that_are_withheld_do_not_end_the_following(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, DONE)
    logs.refused = [Refusal(410, "Withheld", "the node has restarted since")]
    follower = Follower(user)
    assert follower.done()["status"] == DONE
    assert follower.err.text == "the node has restarted since\nCompleted: answered in 2 turns\n"
    logs.refused = [Refusal(410, "Withheld", "the node has restarted since")]
    with pytest.raises(ApiRefused, match="restarted"):
        shown(user)


def test_who_may_not_read_logs(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, RUNNING)
    logs.refused = [Refusal(403, "Forbidden", 'cannot get resource "agentruns/log"')]
    with pytest.raises(ApiRefused, match="agentruns/log"):
        Follower(user).done()


def test_an_operator_that_does_not_come(
    user: User, server: FakeApiServer, logs: FakeLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNSEEN", 0.1)
    added(server)
    follower = Follower(user)
    follower.until("no operator has seen the run yet; is it running?\n")
    server.status("a", DONE | {"attempts": []})
    assert follower.done()


def test_a_service(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, RUNNING)
    logs.write(b"ready to accept\n", 0, "db", end=True)
    follower = Follower(user, Chosen(service="db"))
    follower.done()
    assert (follower.out.text, follower.err.text) == ("ready to accept\n", "")


def test_a_pull_is_one_line_on_a_terminal(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("Queued", "1 before\x1b[2J it"))
    follower = Follower(user, tty=True)
    follower.until("Queued")
    server.status("a", status("Pulling", "1 of 9"))
    follower.until("1 of 9")
    server.status("a", status("Pulling", "5 of 9"))
    follower.until("5 of 9")
    server.status("a", DONE)
    logs.write(says("Hello."), end=True)
    follower.done()
    assert follower.err.text == (
        "Queued: 1 before\\x1b[2J it\nPulling: 1 of 9\r\x1b[KPulling: 5 of 9\nCompleted: answered in 2 turns\n"
    )


def test_what_is_too_long_for_a_line_of_the_terminal_is_not_replaced(
    user: User, server: FakeApiServer, logs: FakeLogs
) -> None:
    long = "x" * 500
    added(server, status("Pulling", long))
    follower = Follower(user, tty=True)
    follower.until(long)
    server.status("a", DONE)
    logs.write(says("Hello."), end=True)
    follower.done()
    assert follower.err.text == f"Pulling: {long}\nCompleted: answered in 2 turns\n"


def test_a_pull_is_said_now_and_then_elsewhere(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    added(server, status("Pulling", "1 of 9"))
    follower = Follower(user)
    follower.until("1 of 9")
    server.status("a", status("Pulling", "5 of 9"))
    server.status("a", status("Queued"))
    server.status("a", DONE)
    logs.write(says("Hello."), end=True)
    follower.done()
    assert follower.err.text in (
        "Pulling: 1 of 9\nQueued\nCompleted: answered in 2 turns\n",
        "Pulling: 1 of 9\nCompleted: answered in 2 turns\n",
    )


def test_what_is_said_on_a_terminal_begins_a_line(user: User, server: FakeApiServer, logs: FakeLogs) -> None:
    """Standard output and error are the same there."""
    added(server, RUNNING)
    logs.write(uses("t"))
    follower = Follower(user, terminal=True, tty=True)
    follower.until("[Bash] ls /")
    logs.refused = [Refusal(410, "Withheld", "withheld")]
    logs.drop()
    follower.until("withheld")
    server.status("a", DONE)
    follower.done()
    assert follower.out.text == "[Bash] ls /\n"
