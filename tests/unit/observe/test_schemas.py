"""Judging schemas in a process of its own: what it may take, and that it is done once."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stromboli.errors import LocalFailure, Refused
from stromboli.observe import schemas
from stromboli.observe.schemas import Schemas
from stromboli.reasons import Reason

OK: Any = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
# A second of the kernel's time, not five: the rest is as it is.
QUICK = "import sys; from stromboli.observe import schema_judge as judge; judge.CPU_SECONDS = 1; sys.exit(judge.main())"


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def counted(calls: Path, then: str) -> Schemas:
    """A judge that notes each call."""
    return Schemas((sys.executable, "-c", f"open({str(calls)!r}, 'a').write('x'); {then}"))


async def refused(judge: Schemas, schema: Any) -> str:
    with pytest.raises(Refused) as refusal:
        await judge.prepared(schema, "space")
    assert refusal.value.reason is Reason.InvalidSpec
    return refusal.value.message


async def test_a_schema_as_the_cli_is_given_it() -> None:
    judge = Schemas()
    dialect = "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(await judge.prepared(OK, "space")) == OK
    assert json.loads(await judge.prepared(json.dumps({"$schema": dialect, **OK}), "space")) == OK
    assert json.loads(await judge.prepared({"title": "käse 🧀 \ud800"}, "space"))["title"].startswith("käse 🧀 ")
    said = "spec.claude.jsonSchema: describes no object"
    assert (await refused(judge, {"type": "array"})).startswith(said)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": [{"a": n} for n in range(6000)]},
        {"enum": [{"a": [n]} for n in range(3000)], "required": [[n] for n in range(3000)]},
        {"anyOf": [{"type": [[n] for n in range(50)]} for _ in range(150)]},
    ],
)
async def test_a_schema_that_takes_minutes_is_refused(schema: Any) -> None:
    """It is judged beside the loop, which goes on meanwhile, and for no longer than the kernel allows."""
    judge = Schemas((sys.executable, "-c", QUICK))
    said = await refused(judge, schema)
    assert said.startswith(("spec.claude.jsonSchema: takes too much time", "spec.claude.jsonSchema: is not a JSON"))


@pytest.mark.parametrize(
    "ending",
    [
        "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import resource, sys; from stromboli.observe import schema_judge as j; j.MEMORY = 150 << 20; "
        "j.prepare = lambda _: [0] * 10**9; sys.exit(j.main())",
        "import sys; from stromboli.observe import schema_judge as j; j.prepare = lambda x: j.prepare(x); "
        "sys.exit(j.main())",
    ],
)
async def test_whatever_a_limit_ends_is_refused_once_and_for_all(calls: Path, ending: str) -> None:
    judge = counted(calls, ending)
    for _ in range(2):
        said = "spec.claude.jsonSchema: takes too much time or memory to check; make it simpler"
        assert await refused(judge, OK) == said
    assert calls.read_text() == "x"


@pytest.mark.parametrize("ending", ["raise SystemExit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
async def test_a_process_that_failed_is_no_verdict(calls: Path, ending: str) -> None:
    judge = counted(calls, ending)
    for _ in range(2):
        with pytest.raises(LocalFailure, match="could not be checked"):
            await judge.prepared(OK, "space")
    assert calls.read_text() == "xx"


async def test_a_judge_that_never_ends_is_ended(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "WALL_SECONDS", 0.5)
    judge = counted(calls, "import time; time.sleep(600)")
    with pytest.raises(LocalFailure, match="could not be checked within"):
        await judge.prepared(OK, "space")


ANSWER = "import sys; sys.stdin.read(); print('{\"schema\": {}}')"


async def test_a_schema_is_judged_once(calls: Path) -> None:
    judge = counted(calls, ANSWER)
    await asyncio.gather(*(judge.prepared(OK, "space") for _ in range(5)))
    await judge.prepared(json.dumps(OK), "another")
    assert calls.read_text() == "x"
    assert not judge._namespaces


async def test_what_is_remembered_has_a_bound(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MAX_REMEMBERED", 3 * (schemas._OVERHEAD + 2))
    judge = counted(calls, ANSWER)
    for n in (1, 2, 3, 1, 4, 1, 2):  # the fourth takes the place of the second, which was longest not asked for
        await judge.prepared({"title": str(n)}, "space")
    assert calls.read_text() == "xxxxx"
    assert len(judge._verdicts) == 3


async def test_one_namespace_leaves_room_for_another(tmp_path: Path) -> None:
    """However many it has: here each waits until the other namespace's was judged."""
    done = tmp_path / "done"
    code = (
        "import pathlib, sys, time\n"
        "first = b'first' in sys.stdin.buffer.read()\n"
        f"done = pathlib.Path({str(done)!r})\n"
        "while first and not done.exists():\n"
        "    time.sleep(0.01)\n"
        "print('{\"schema\": {}}')\n"
    )
    judge = Schemas((sys.executable, "-c", code))
    many = [asyncio.ensure_future(judge.prepared({"title": f"first {n}"}, "greedy")) for n in range(4)]
    await judge.prepared({"title": "second"}, "modest")
    done.touch()
    await asyncio.gather(*many)


# --- answers ---


async def test_an_answer_is_judged_by_its_schema() -> None:
    judge = Schemas()
    assert await judge.violation(OK, {"ok": True}, "space") is None
    assert await judge.violation(json.dumps(OK), {"ok": "käse\n"}, "space") == 'at $.ok it violates type: "boolean"'
    said = await judge.violation({"type": "array"}, {}, "space")
    assert said is not None
    assert said.startswith("spec.claude.jsonSchema: describes no object")


EXPENSIVE: dict[str, tuple[Any, Any]] = {
    "a regular expression": ({"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 40 + "b"}),
    "unique items": (
        {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"a": [{"n": [n]} for n in range(20_000)]},
    ),
    "a reference to itself": ({"type": "object", "$ref": "#"}, {}),
}


@pytest.mark.parametrize("name", EXPENSIVE)
async def test_an_answer_that_takes_minutes_is_not_valid(name: str) -> None:
    quick = "import sys; from stromboli.observe import answer_judge, schema_judge as judge; judge.CPU_SECONDS = 1; "
    judge = Schemas(answers=(sys.executable, "-c", f"{quick}sys.exit(answer_judge.main())"))
    schema, answer = EXPENSIVE[name]
    said = "it takes too much time or memory to check; make the schema simpler"
    assert await judge.violation(schema, answer, "space") == said


async def test_a_reference_to_another_server_is_not_followed() -> None:
    schema: Any = {"type": "object", "$id": "http://localhost:1/a", "properties": {"a": {"$ref": "b"}}}
    said = await Schemas().violation(schema, {"a": 1}, "space")
    assert said == "it refers to 'b', which cannot be found"


@pytest.mark.parametrize("ending", ["raise SystemExit(1)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
async def test_an_answer_that_could_not_be_judged_is_tried_again_and_not_valid(calls: Path, ending: str) -> None:
    judge = Schemas(answers=(sys.executable, "-c", f"open({str(calls)!r}, 'a').write('x'); {ending}"))
    said = await judge.violation(OK, {"ok": True}, "space")
    assert said is not None
    assert said.startswith("it could not be checked: ")
    assert calls.read_text() == "xx"
