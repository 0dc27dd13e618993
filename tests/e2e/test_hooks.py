"""Hooks of `spec.lifecycle` before the agent: in order, verbatim, with limits, and whatever they do to each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.operator import Standin
from tests.support.runs import Object, Runs, condition, reason_is

ODD = 'it\'s "two  spaces" $HOME; `id` \\n żółw 🐢'
CASES: dict[str, dict[str, Any]] = {
    "order": {
        "onCreateCommand": ["echo a"],
        "updateContentCommand": ["echo b"],
        "postCreateCommand": ["echo c"],
        "postStart": ["echo d"],
    },
    "failing": {"onCreateCommand": ["true"], "postCreate": ["true", "echo no luck; exit 7"], "postStart": ["true"]},
    "endless": {"postStart": ["sleep 600"], "hooksTimeout": "1s"},
    "loud": {"postStart": ["head -c 100000000 /dev/zero | tr '\\0' x; echo last"] + ["seq 9999"] * 4},
    "leaving": {"postStart": ["sleep 600 & echo left"]},
    "reading": {"postStart": ["cat; echo read"]},
    "kill-pid-1": {"postStart": ["kill -9 1; echo survived"]},
    "kill-all": {"postStart": ["kill -9 -1; echo survived"]},
    "term-pid-1": {"postStart": ["kill -TERM 1; sleep 600"]},
    "handing": {
        "onCreateCommand": ["mkdir /opt/tool; cp /bin/echo /opt/tool/say", "echo /opt/tool >>$STROMBOLI_PATH"],
        "postCreate": ['echo "GIVEN=by a hook" >>$STROMBOLI_ENV'],
        "postStart": ["say $GIVEN"],
    },
    "forbidden": {"postStart": ["echo LD_PRELOAD=/x.so >>$STROMBOLI_ENV"]},
    "odd": {"postStart": [f"cat > odd <<'E'\n{ODD}\nE\ncat odd; pwd; printenv GIVEN ANTHROPIC_API_KEY"]},
}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("hooks", light=True)


@pytest.fixture(scope="module")
def ended(space: Runs, python_image: str) -> dict[str, Object]:
    """All cases, run concurrently."""
    common = {"image": python_image, "workdir": "/work/here", "env": [{"name": "GIVEN", "value": "by the run"}]}
    specs = {n: {"prompt": f"hooks-{n}", "lifecycle": hooks, **common} for n, hooks in CASES.items()}
    slow = {"prompt": "hooks-slow", "timeout": "2s", "lifecycle": {"postStart": ["sleep 600"]}, **common}
    return space.run_all({**specs, "slow": slow})


def said(run: Object) -> tuple[str, str]:
    return condition(run)["reason"], condition(run)["message"]


def sent(standin: Standin, name: str) -> bool:
    return any(f"hooks-{name}" in r["last_user_text"] for r in standin.requests())


def test_steps_in_their_order_and_the_agent_last(ended: dict[str, Object], standin: Standin) -> None:
    assert said(ended["order"])[0] == "Completed", said(ended["order"])
    steps = ended["order"]["status"]["steps"]
    assert [(s["hook"], s["index"], s["tail"].strip()) for s in steps[:-1]] == [
        ("onCreateCommand", 0, "a"),
        ("onCreateCommand", 1, "b"),
        ("postCreate", 0, "c"),
        ("postStart", 0, "d"),
    ]
    assert steps[-1]["hook"] == "agent"
    assert all((s["state"], s["exitCode"]) == ("Succeeded", 0) for s in steps)
    times = [t for s in steps for t in (s["startedAt"], s["finishedAt"])]
    assert times == sorted(times)
    assert sent(standin, "order")


def test_while_hooks_run_the_status_says_so_and_nothing_is_sent(
    space: Runs, standin: Standin, python_image: str
) -> None:

    def told(run: Object) -> bool:
        """The reason may be reported before the first step is."""
        return reason_is("RunningHooks")(run) and bool(run["status"].get("steps"))

    hooks = {"postStart": ["until [ -e /tmp/go ]; do sleep 0.1; done"], "hooksTimeout": "3s"}
    space.apply("going", prompt="hooks-going", image=python_image, lifecycle=hooks)
    step = space.until("going", told)["status"]["steps"][0]
    assert (step["hook"], step["index"], step["state"]) == ("postStart", 0, "Running")
    assert not sent(standin, "going")
    assert said(space.ends(["going"])["going"])[0] == "HookFailed"


def test_the_first_failure_is_the_end(ended: dict[str, Object], standin: Standin) -> None:
    reason, message = said(ended["failing"])
    assert reason == "HookFailed"
    assert "postCreate[1], exit code 7" in message
    assert "no luck" in message
    assert [s["hook"] for s in ended["failing"]["status"]["steps"]] == ["onCreateCommand", "postCreate", "postCreate"]
    assert condition(ended["failing"], "Stalled")["status"] == "True"
    assert not sent(standin, "failing")


def test_a_hook_hands_on_what_a_spec_may_set_and_no_more(ended: dict[str, Object], standin: Standin) -> None:
    assert said(ended["handing"])[0] == "Completed", said(ended["handing"])
    assert ended["handing"]["status"]["steps"][-2]["tail"].strip() == "by a hook"
    reason, message = said(ended["forbidden"])
    assert reason == "HookFailed"
    assert "line 1 of $STROMBOLI_ENV sets LD_PRELOAD, which changes which code the agent loads" in message
    assert not sent(standin, "forbidden")


def test_hooks_that_never_end(ended: dict[str, Object], standin: Standin) -> None:
    assert said(ended["endless"])[0] == "HookFailed"
    assert "lifecycle.hooksTimeout: postStart[0]" in said(ended["endless"])[1]
    assert said(ended["slow"])[0] == "TimedOut"
    assert not sent(standin, "endless")
    assert not sent(standin, "slow")


def test_what_hooks_print_is_bounded(ended: dict[str, Object], folder: Path) -> None:
    run = ended["loud"]
    assert said(run)[0] == "Completed", said(run)
    steps, uid = run["status"]["steps"], run["metadata"]["uid"]
    assert steps[0]["tail"].endswith("last\n")
    assert sum(len(s["tail"].encode()) for s in steps) <= 16 * 1024
    out = folder / "home/sessions" / uid / "attempts" / f"{uid}-1" / "out"
    assert sum(f.stat().st_size for f in out.iterdir() if f.is_file()) <= 10 * 1024 * 1024


@pytest.mark.parametrize(("case", "tail"), [("leaving", "left"), ("reading", "read"), ("kill-pid-1", "survived")])
def test_what_does_no_harm(ended: dict[str, Object], case: str, tail: str) -> None:
    assert said(ended[case])[0] == "Completed", said(ended[case])
    assert ended[case]["status"]["steps"][0]["tail"].strip() == tail


def test_a_hook_that_kills_all_it_may_ends_in_a_state_that_is_true(ended: dict[str, Object]) -> None:
    """It also kills the process that records its output, so that its later writes may fail."""
    assert said(ended["kill-all"])[0] in ("Completed", "HookFailed"), said(ended["kill-all"])


def test_a_hook_that_ends_the_container(ended: dict[str, Object], standin: Standin) -> None:
    assert said(ended["term-pid-1"])[0] == "AgentFailed"
    assert "SIGTERM" in said(ended["term-pid-1"])[1]
    assert not sent(standin, "term-pid-1")


def test_word_for_word_with_workdir_env_and_credentials(ended: dict[str, Object]) -> None:
    assert said(ended["odd"])[0] == "Completed", said(ended["odd"])
    lines = ended["odd"]["status"]["steps"][0]["tail"].splitlines()
    assert lines == [ODD, "/work/here", "by the run", "***"], "the credentials are there, and exposed to nobody else"


def test_an_image_without_a_shell(space: Runs, podman_env: dict[str, str]) -> None:
    image = images.build("no-shell", podman_env)
    run = space.run("no-shell", prompt="hooks-no-shell", image=image, lifecycle={"postStart": ["true"]})
    assert said(run)[0] == "ImageIncompatible"
    assert "attempts" not in run["status"]


@pytest.mark.parametrize(
    ("hooks", "why"),
    [
        ({"postStart": ["true"] * 33}, "32"),
        ({"postStart": [""]}, "at least 1"),
        ({"postStart": [" \t"]}, "is blank; write a shell command"),
        ({"postStart": ["x" * 8193]}, "8192"),
        ({"postStart": ["a\0b"]}, "NUL"),
        ({"hooksTimeout": "5"}, "needs a unit: write 5s for seconds or 5m for minutes"),
        ({"hooksTimeout": "1ms"}, "must be a duration of at least a second"),
        ({"postAttach": ["true"]}, "postAttach"),
    ],
)
def test_refused_at_apply(space: Runs, python_image: str, hooks: dict[str, Any], why: str) -> None:
    assert why in space.refused("bad", prompt="hooks-bad", image=python_image, lifecycle=hooks)
