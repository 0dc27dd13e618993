"""A run in a session: what it may state, whose turn it is, which hooks are still to run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import Refused
from stromboli.kube import objects
from stromboli.models.agentrun import StepState
from stromboli.models.agentsession import SessionTemplate
from stromboli.models.fields import PullSecretName, Resources
from stromboli.plan import container, session
from stromboli.plan.attempt import Hook, StepRecord
from stromboli.plan.container import Shape, misfit
from stromboli.plan.limits import Limits
from stromboli.plan.session import Place
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, records, spec

TEMPLATE = {
    "image": "python:3.12",
    "image_pull_secrets": [PullSecretName(name="a"), PullSecretName(name="b")],
    "workdir": "/work",
    "volumes": ["/srv/a:/a:ro", "/srv/b:/b"],
    "lifecycle": {"onCreateCommand": ["install"], "hooksTimeout": "60s"},
    "resources": {"memory": "512Mi", "cpus": 2},
}


OWN = [PullSecretName(name="own")]


def template(**changes: Any) -> SessionTemplate:
    return SessionTemplate.model_validate({k: v for k, v in (TEMPLATE | changes).items() if v is not None})


# --- what a run states ---


def test_what_a_run_leaves_out_is_the_templates() -> None:
    merged = session.merged(spec(image=None), template(), "s")
    for field in TEMPLATE:
        assert getattr(merged, field) == getattr(template(), field)


def test_a_session_without_a_template_takes_the_runs() -> None:
    assert session.merged(spec(workdir="/x"), None, "s") == spec(workdir="/x")


@pytest.mark.parametrize(
    "same",
    [
        {"image": "docker.io/library/python:3.12"},
        {"image": "index.docker.io/python:3.12"},
        {"workdir": "/work"},
        {"imagePullSecrets": [{"name": "b"}, {"name": "a"}]},
        {"volumes": ["/srv/b:/b:rw", "/srv/a:/a:ro"]},
        {"lifecycle": {"onCreateCommand": ["install"]}},
        {"lifecycle": {"hooksTimeout": "1m"}},
        {"resources": {"memory": 536870912}},
        {"resources": {"cpus": "2000m"}},
    ],
)
def test_the_same_in_other_words_is_the_same(same: dict[str, Any]) -> None:
    assert session.merged(spec(**({"image": None} | same)), template(), "s").image == "python:3.12"


@pytest.mark.parametrize(
    ("field", "differs"),
    [
        ("spec.image", {"image": "python:3.13"}),
        ("spec.image", {"image": "ghcr.io/library/python:3.12"}),
        ("spec.workdir", {"workdir": "/work/"}),
        ("spec.imagePullSecrets", {"imagePullSecrets": [{"name": "a"}]}),
        ("spec.volumes", {"volumes": ["/srv/a:/a"]}),
        ("spec.lifecycle.onCreateCommand", {"lifecycle": {"onCreateCommand": ["install", "more"]}}),
        ("spec.lifecycle.postCreate", {"lifecycle": {"postCreate": ["more"]}}),
        ("spec.lifecycle.postStart", {"lifecycle": {"postStart": ["more"]}}),
        ("spec.lifecycle.hooksTimeout", {"lifecycle": {"hooksTimeout": "2m"}}),
        ("spec.resources.memory", {"resources": {"memory": "1Gi"}}),
        ("spec.resources.cpus", {"resources": {"cpus": 1}}),
        ("spec.resources.cpuShares", {"resources": {"cpuShares": 100}}),
        ("spec.resources.pids", {"resources": {"pids": 100}}),
    ],
)
def test_a_difference_is_refused_and_named(field: str, differs: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        session.merged(spec(**({"image": None} | differs)), template(), "mine")
    assert refused.value.reason is Reason.InvalidSpec
    assert refused.value.message.startswith(f"{field}: ")
    assert "the session mine has" in refused.value.message
    assert session.ANOTHER in refused.value.message


@pytest.mark.parametrize("field", ["image", "workdir", "volumes", "lifecycle", "resources"])
def test_what_the_template_lacks_nobody_can_add(field: str) -> None:
    bare = template(**{field: None})
    with pytest.raises(Refused, match="has none"):
        session.merged(spec(**({"image": None} | {field: TEMPLATE[field]})), bare, "s")


def test_secrets_for_pulls_may_be_added_where_the_template_has_none() -> None:
    own = {"image": None, "imagePullSecrets": [{"name": "own"}]}
    assert session.merged(spec(**own), template(image_pull_secrets=None), "s").image_pull_secrets == OWN
    assert session.forked(spec(**own), template(), "parent").image_pull_secrets == OWN
    assert session.forked(spec(image=None), template(), "parent").image_pull_secrets == TEMPLATE["image_pull_secrets"]


def test_a_fork_has_its_parents_image_and_workdir_and_may_have_its_own_of_the_rest() -> None:
    own = {"volumes": ["/srv/c:/c"], "lifecycle": {"postStart": ["x"]}, "resources": {"memory": "1Gi"}}
    forked = session.forked(spec(image=None, **own), template(), "parent")
    assert (forked.image, forked.workdir, forked.volumes) == ("python:3.12", "/work", ["/srv/c:/c"])
    assert forked.lifecycle == spec(**own).lifecycle
    for differs in ({"image": "python:3.13"}, {"image": None, "workdir": "/x"}):
        with pytest.raises(Refused):
            session.forked(spec(**differs), template(), "parent")


@pytest.mark.parametrize(
    ("fork", "of", "refused"),
    [(None, None, False), (None, "a", False), ("a", "a", False), ("a", "b", True), ("a", None, True)],
)
def test_a_session_that_exists_has_the_parent_that_it_has(fork: str | None, of: str | None, refused: bool) -> None:
    choice = {"name": "s", "fork": fork} if fork else {"name": "s"}
    if not refused:
        session.check_parent(spec(session=choice), of)
        return
    with pytest.raises(Refused, match=r"spec.session.fork: the session s exists and is (no fork|a fork of b)"):
        session.check_parent(spec(session=choice), of)


def test_the_template_has_what_the_policies_gave() -> None:
    made = session.template_of(spec(image=None), "docker.io/library/python:3.12", 1 << 30, 500)
    limits = Resources(memory=1 << 30, cpus="500m")
    assert made == SessionTemplate(image="docker.io/library/python:3.12", resources=limits)
    stated = session.template_of(spec(**TEMPLATE), "unused:1", 1, 1)
    assert stated == SessionTemplate.model_validate(TEMPLATE)
    assert session.merged(spec(**TEMPLATE), stated, "s")


@pytest.mark.parametrize(
    "empty",
    [
        {"volumes": []},
        {"lifecycle": {}},
        {"lifecycle": {"onCreateCommand": []}},
        {"lifecycle": {"postCreate": [], "postStart": [], "updateContentCommand": []}},
        {"resources": {}},
    ],
)
def test_what_is_given_and_empty_is_as_not_given(empty: dict[str, Any]) -> None:
    """In the run, in the template, in a fork and in the template that a first run fills."""
    nothing = spec(image=None)
    assert session.merged(spec(image=None, **empty), template(), "s") == session.merged(nothing, template(), "s")
    assert session.forked(spec(image=None, **empty), template(), "s") == session.forked(nothing, template(), "s")
    assert session.template_of(spec(**empty), "i", None, None) == session.template_of(spec(), "i", None, None)
    said = {"volumes": ["/srv/c:/c"], "lifecycle": {"postStart": ["x"]}, "resources": {"pids": 100}}
    for name in empty:
        for have in (template(**empty), template(**{name: None})):
            with pytest.raises(Refused, match="and the session s has none; leave it out"):
                session.merged(spec(image=None, **{name: said[name]}), have, "s")


# --- environments ---

SOURCES: list[dict[str, Any]] = [
    {"path": "/srv/app/compose.yml"},
    {"paths": ["/srv/app/compose.yml", "/srv/app/more.yml"]},
    {"inline": "services: {}"},
    {"configMapKeyRef": {"name": "stack", "key": "compose.yml"}},
]
REST: dict[str, Any] = {
    "service": "dev",
    "profiles": ["a", "b"],
    "env": [{"name": "X", "value": "1"}, {"name": "Y"}],
    "images": {"db": "postgres:16"},
}


def environment(**fields: Any) -> dict[str, Any]:
    return {"image": None, "environment": {"type": "compose"} | fields}


def in_a_session_with(**fields: Any) -> SessionTemplate:
    return session.template_of(spec(**environment(**fields)), None, None, None)


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: next(iter(s)))
def test_the_environment_comes_from_the_template_and_may_be_stated_again(source: dict[str, Any]) -> None:
    have = in_a_session_with(**source, **REST)
    assert have.image is None
    whole = spec(**environment(**source, **REST))
    for stated in (spec(image=None), whole, spec(**environment(**source))):
        assert session.merged(stated, have, "s").environment == whole.environment
        assert session.forked(stated, have, "s").environment == whole.environment


def test_the_same_environment_in_other_words_is_the_same() -> None:
    have = in_a_session_with(**SOURCES[0], **REST)
    same = {
        "paths": ["/srv/app/compose.yml"],
        "profiles": ["b", "a"],
        "env": [{"name": "Y"}, {"name": "X", "value": "1"}],
        "images": {"db": "docker.io/library/postgres:16"},
    }
    assert session.merged(spec(**environment(**same)), have, "s").environment == have.environment


@pytest.mark.parametrize("join", [session.merged, session.forked])
@pytest.mark.parametrize(
    ("differs", "said"),
    [
        ({"path": "/srv/b.yml"}, "path: is /srv/b.yml, and the session s has /srv/app/compose.yml"),
        ({"paths": ["/a", "/b"]}, "paths: is /a, /b, and the session s has /srv/app/compose.yml"),
        ({"inline": "x: hunter2"}, "inline: is not the text that the session s has"),
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, "configMapKeyRef: is m/k, and the session s has none"),
        ({**SOURCES[0], "service": "db"}, "service: is db, and the session s has dev"),
        ({**SOURCES[0], "profiles": ["b"]}, "profiles: is b, and the session s has a, b"),
        ({**SOURCES[0], "env": [{"name": "X", "value": "2"}]}, "env: X, Y: differs from what the session s has"),
        ({**SOURCES[0], "images": {"app": "python:3"}}, "images: app, db: differs from what the session s has"),
    ],
)
def test_another_environment_is_refused_by_its_field(join: Any, differs: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        join(spec(**environment(**differs)), in_a_session_with(**SOURCES[0], **REST), "s")
    assert refused.value.reason is Reason.InvalidSpec
    assert refused.value.message == f"spec.environment.{said}; leave environment out, or {session.ANOTHER}"


def test_a_session_has_an_image_or_an_environment_from_its_beginning() -> None:
    with pytest.raises(Refused, match=r"spec\.environment: the session s has none; leave it out"):
        session.merged(spec(**environment(inline="x")), template(), "s")
    with pytest.raises(Refused, match=r"spec\.image: is python:3\.12, and the session s has none"):
        session.merged(spec(), in_a_session_with(inline="x"), "s")


# --- the queue ---


def run(name: str, created: int, version: int, ticket: int | None = None) -> Place:
    meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    meta["creationTimestamp"] = f"2026-01-01T12:00:{created:02}Z"
    status = {"session": {"ticket": str(ticket)}} if ticket is not None else {}
    return session.place_of(objects.run({"metadata": meta, "spec": {"session": {"name": "s"}}, "status": status}))


def ahead(who: Place, *waiting: Place, current: str | None = None) -> str | None:
    """The run that it is behind."""
    said = session.behind(who, current, waiting, "s")
    return None if said is None else said.split(" in ")[0].removeprefix("behind the run ")


def test_the_first_to_be_made_is_first() -> None:
    a, b = run("a", 2, 5), run("b", 1, 9)
    assert (ahead(a, a, b), ahead(b, a, b)) == ("b", None)


def test_of_one_second_the_first_version_is_first_whatever_was_written_since() -> None:
    a, b = run("a", 1, 500, ticket=10), run("b", 1, 11)
    assert (ahead(a, a, b), ahead(b, a, b)) == (None, "a")
    assert ahead(run("nine", 1, 9), run("ten", 1, 10), run("nine", 1, 9)) is None, "versions are numbers"


def test_who_has_it_has_it() -> None:
    a, b = run("a", 1, 1), run("b", 2, 2)
    assert (ahead(a, a, b, current="uid-b"), ahead(b, a, b, current="uid-b")) == ("b", None)
    assert session.behind(a, "uid-b", [a, b], "s") == "behind the run b in the queue of the session s"
    assert session.behind(b, None, [a, b], "s") == "behind the run a in the queue of the session s"


def test_one_that_has_gone_without_a_word_has_it_no_more() -> None:
    a, b = run("a", 1, 1), run("b", 2, 2)
    assert (ahead(a, a, b, current="uid-gone"), ahead(b, a, b, current="uid-gone")) == (None, "a")


def test_but_for_the_next_the_sentence_is_the_same_whoever_has_it() -> None:
    queue = [run(f"r{n}", 1, n) for n in range(4)]
    said = [session.behind(queue[-1], place.uid, queue, "s") for place in queue[:-1]]
    assert set(said) == {"behind other runs in the queue of the session s"}
    assert [ahead(place, *queue) for place in queue[:2]] == [None, "r0"]


@pytest.mark.parametrize(
    ("status", "waits"),
    [
        ({}, True),
        ({"conditions": [{"type": "Succeeded", "reason": "Queued"}]}, True),
        ({"conditions": [{"type": "Succeeded", "reason": "Running"}]}, False),
    ],
)
def test_who_has_got_past_the_queue_waits_no_more(status: dict[str, Any], waits: bool) -> None:
    meta = {"name": "a", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T12:00:00Z"}
    spec = {"session": {"name": "s", "fork": "p"}}
    place = session.place_of(objects.run({"metadata": meta, "spec": spec, "status": status}))
    assert (place.waits, place.session, place.ticket) == (waits, "s", 7)


@pytest.mark.parametrize(
    ("spec", "names"),
    [({}, ()), ({"session": {"name": "s"}}, ("s",)), ({"session": {"name": "s", "fork": "p"}}, ("s", "p"))],
)
def test_a_fork_stands_in_two_queues(spec: dict[str, Any], names: tuple[str, ...]) -> None:
    assert objects.run({"spec": spec}).sessions == names


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99)), min_size=1, max_size=8, unique_by=lambda pair: pair[1]),
    st.integers(-1, 7),
)
def test_it_is_always_exactly_ones_turn(made: list[tuple[int, int]], holding: int) -> None:
    runs = [run(f"r{n}", created, version) for n, (created, version) in enumerate(made)]
    current = f"uid-r{holding}"
    turns = [r.name for r in runs if ahead(r, *runs, current=current) is None]
    expected = f"r{holding}" if 0 <= holding < len(runs) else min(runs).name
    assert turns == [expected]


# --- the beginning ---

HOOKS = (Hook("onCreateCommand", 0, "a"), Hook("postCreate", 0, "b"), Hook("postStart", 0, "c"))


def test_once_initialized_only_post_start_runs() -> None:
    assert session.hooks_to_run(HOOKS, initialized=False) == HOOKS
    assert session.hooks_to_run(HOOKS, initialized=True) == HOOKS[2:]


def test_the_hash_is_of_the_hooks_of_the_beginning() -> None:
    assert session.hooks_hash(HOOKS) == session.hooks_hash(HOOKS[:2])
    others = {session.hooks_hash(hooks) for hooks in ((), HOOKS[:1], HOOKS[:2], (Hook("postCreate", 0, "a"),))}
    assert len(others) == 4


@pytest.mark.parametrize(
    ("steps", "sent", "initialized"),
    [
        ((), False, False),
        (("onCreateCommand",), False, False),
        (("onCreateCommand", "postCreate"), False, False),
        (("onCreateCommand", "postStart"), False, True),
        (("postStart",), False, True),
        (("agent",), False, True),
        ((), True, True),
    ],
)
def test_who_is_past_the_beginning_has_it_behind(steps: tuple[str, ...], sent: bool, initialized: bool) -> None:
    left = records(
        sent=sent, steps=tuple(StepRecord(hook, 0, StepState.succeeded, 0, None, None, "") for hook in steps)
    )
    assert session.has_initialized(left) is initialized


# --- the container under today's policies ---

NO_LIMITS = Limits()
MADE = Shape("bridge", True, (), 2**30, 2000, 2048)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (replace(MADE), None),
        (replace(MADE, network="none"), "on a network"),
        (replace(MADE, cli=False), None),
        (replace(MADE, layout=2), "another version of the operator"),
        (replace(MADE, volumes=("/srv/a:/a:rw",)), "which are now"),
        (replace(MADE, memory=None, cpus=None, pids=16), None),
    ],
)
def test_what_a_policy_no_longer_allows_is_said(wanted: Shape, said: str | None) -> None:
    found = Shape.from_label(MADE.to_label())
    what = misfit(found, wanted, NO_LIMITS, files=False)
    assert what == "" if said is None else said in what


def test_a_container_of_an_earlier_version_has_no_place_for_secret_files() -> None:
    before, now = replace(MADE, layout=1), replace(MADE, layout=container.LAYOUT)
    assert misfit(before, now, NO_LIMITS, files=False) == ""
    assert "without a place for spec.secretFiles" in misfit(before, now, NO_LIMITS, files=True)
    assert misfit(now, now, NO_LIMITS, files=True) == ""
    assert "another version" in misfit(replace(MADE, layout=container.LAYOUT + 1), now, NO_LIMITS, files=False)


@pytest.mark.parametrize(
    "label",
    [
        "no JSON",
        "[]",
        "1",
        "null",
        "{}",
        '{"network": "none", "cli": true}',
        '{"network": "none", "cli": {}, "volumes": []}',
        '{"network": "none", "cli": true, "volumes": 1}',
        '{"network": "none", "cli": true, "volumes": [1]}',
        '{"network": "none", "cli": true, "volumes": ["no target"]}',
        '{"network": "none", "cli": true, "volumes": [], "memory": "much"}',
    ],
)
def test_a_label_of_another_shape_is_none(label: str) -> None:
    with pytest.raises(ValueError):
        Shape.from_label(label)


def test_a_container_without_a_network_stays_without_one() -> None:
    assert misfit(replace(MADE, network="none"), MADE, NO_LIMITS, files=False) == ""
    assert "CLI's mount" in misfit(Shape("none", False, ()), Shape("none", True, ()), NO_LIMITS, files=False)


@pytest.mark.parametrize(
    ("ceilings", "said"),
    [
        ({"memory": "1Gi", "cpus": 2, "pids": 2048}, None),
        (
            {"memory": "1023Mi"},
            "with more memory than the ceiling of 1023Mi that AgentPolicy base sets in limits.memory",
        ),
        ({"cpus": "1500m"}, "with more cpus than the ceiling of 1500m"),
        ({"pids": 1024}, "with more pids than the ceiling of 1024"),
    ],
)
def test_a_container_is_judged_by_the_ceilings_of_today(ceilings: dict[str, Any], said: str | None) -> None:
    """A run in it that asks for less changes nothing: its limits are those that it was made with."""
    limits = effective(policy(limits=ceilings)).limits
    what = misfit(MADE, MADE if said is None else replace(MADE, memory=1, cpus=1, pids=16), limits, files=False)
    assert what == "" if said is None else what.startswith(f"was created {said}")


def test_a_container_that_was_made_without_a_limit_is_over_every_ceiling() -> None:
    before = Shape.from_label('{"network": "bridge", "cli": true, "volumes": []}')
    what = misfit(before, MADE, effective(policy(limits={"memory": "64Gi"})).limits, files=False)
    assert "without a limit on memory, which exceeds the ceiling of 64Gi" in what
