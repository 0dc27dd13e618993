"""What a run takes from ConfigMaps and Secrets: the order of Pods, and what is left out or refused, by name only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import Refused
from stromboli.models.agentrun import AgentRunSpec
from stromboli.models.sources import MAX_TAKEN
from stromboli.plan import references, request
from stromboli.plan.policy import Effective
from stromboli.plan.processes import MAX_STRING
from stromboli.plan.references import Object, Taken
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec

OPEN = effective(policy())
SECRET = "hush-hush-hush"
Data = Mapping[tuple[str, str], Mapping[str, bytes]]


def _taken(what: AgentRunSpec, data: Data, under: Effective = OPEN) -> Taken:
    """As observe/references.py does it, with all objects there that `data` has."""
    each, notes, total = [], [], 0
    for want in references.wanted(what):
        has = data.get((want.object.kind, want.object.name), {})
        found = references.found(want, has)
        if (said := references.skipped(want, has)) is not None:
            notes.append(said)
        total += references.size(found)
        references.check_size(total, want)
        each.append((want, found))
    return references.taken(what, under, each, notes)


def _variables(what: AgentRunSpec, taken: Taken, under: Effective = OPEN) -> dict[str, bytes]:
    """The run's variables, as launch.py joins them."""
    plain = {**taken.env, **request.build(what, under).env}
    return {name: value.encode() for name, value in plain.items()} | dict(taken.secret_env)


def _from(kind: str, name: str, prefix: str = "", **more: Any) -> dict[str, Any]:
    return {"secretRef" if kind == "Secret" else "configMapRef": {"name": name}, "prefix": prefix, **more}


def _value(name: str, kind: str, key: str) -> dict[str, Any]:
    field = "secretKeyRef" if kind == "Secret" else "configMapKeyRef"
    return {"name": name, "valueFrom": {field: {"name": "o", "key": key}}}


# --- the order ---

NAMES = st.sampled_from(["A", "B", "C_1", "b"])
KEYS = st.one_of(NAMES, st.sampled_from(["1", "a.b", "-", "A-B", "1A"]))
KINDS = st.sampled_from(["Secret", "ConfigMap"])
VALUES = st.binary(max_size=4).map(lambda value: value.hex().encode())
OBJECTS = st.lists(st.tuples(KINDS, st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from(["", "P_", "A"])))
LITERALS = st.tuples(NAMES, st.none(), VALUES)
REFERENCES = st.tuples(NAMES, KINDS, VALUES)
ENV = st.lists(st.one_of(LITERALS, REFERENCES), unique_by=lambda entry: entry[0])


@given(OBJECTS, ENV)
def test_later_sources_override_earlier_ones_and_env_all_of_them(
    sources: list[tuple[str, dict[str, bytes], str]], env: list[tuple[str, str | None, bytes]]
) -> None:
    data: dict[tuple[str, str], dict[str, bytes]] = {
        (kind, f"o{n}"): values for n, (kind, values, _) in enumerate(sources)
    }
    expected: dict[str, bytes] = {}
    secret: set[str] = set()
    for kind, values, prefix in sources:
        for key, value in values.items():
            name = prefix + key
            if not (name[0].isdigit() or "-" in name or "." in name):
                expected[name] = value
                (secret.add if kind == "Secret" else secret.discard)(name)
    fields = []
    for name, source, value in env:
        expected[name] = value
        (secret.add if source == "Secret" else secret.discard)(name)
        if source is None:
            fields.append({"name": name, "value": value.decode()})
        else:
            data.setdefault((source, "o"), {})[f"key-of-{name}"] = value
            fields.append(_value(name, source, f"key-of-{name}"))
    what = spec(env=fields, envFrom=[_from(kind, f"o{n}", prefix) for n, (kind, _, prefix) in enumerate(sources)])
    found = _taken(what, data)
    assert _variables(what, found) == expected
    assert set(found.secret_env) == secret
    assert set(found.env).isdisjoint(secret)


def test_a_value_that_is_optional_and_not_there_leaves_that_of_an_earlier_source() -> None:
    missing = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "o", "key": "none", "optional": True}}}
    what = spec(env=[missing], envFrom=[_from("Secret", "s")])
    assert _taken(what, {("Secret", "s"): {"A": b"kept"}}).secret_env == {"A": b"kept"}
    assert _taken(spec(env=[missing]), {}).secret_env == {}


def test_what_a_policy_sets_stays_and_may_be_said_again() -> None:
    under = effective(policy(env=[{"name": "PROXY", "value": "http://p"}]))
    what = spec(envFrom=[_from("Secret", "s")])
    found = _taken(what, {("Secret", "s"): {"PROXY": b"http://p"}}, under)
    assert _variables(what, found, under) == {"PROXY": b"http://p"}
    assert found.secret_env == {}
    refusal = _refused(what, {("Secret", "s"): {"PROXY": SECRET.encode()}}, under)
    assert refusal.reason == Reason.PolicyViolation
    assert refusal.message == (
        "spec.envFrom[0]: key PROXY of the Secret s: PROXY is set by a policy and cannot be changed; leave it out"
    )


def test_a_file_has_what_its_key_has_and_its_own_name() -> None:
    files = [{"name": name, "secretKeyRef": {"name": "s", "key": "k"}} for name in ("one", "two")]
    assert _taken(spec(secretFiles=files), {("Secret", "s"): {"k": b"\0\xff"}}).files == {
        "one": b"\0\xff",
        "two": b"\0\xff",
    }


# --- what is left out ---


def test_keys_that_are_no_names_are_left_out_and_named() -> None:
    data = {"a.b": b"x", "1": b"x", "OK": b"x", **{f"-{n:02}": SECRET.encode() for n in range(20)}}
    found = _taken(spec(envFrom=[_from("Secret", "s"), _from("Secret", "s", "P_")]), {("Secret", "s"): data})
    assert set(found.secret_env) == {"OK", "P_OK", "P_1"}
    first, second = found.skipped
    assert first.startswith("spec.envFrom[0]: keys of the Secret s were left out: -00, -01, -02")
    assert "and 12 more (not the name of a variable)" in first
    assert second.startswith("spec.envFrom[1]: keys of the Secret s were left out, after the prefix P_: ")
    assert SECRET not in first + second


def test_what_is_binary_in_a_config_map_is_not_for_variables() -> None:
    found = _taken(spec(envFrom=[_from("ConfigMap", "c")]), {("ConfigMap", "c"): {"JAR": b"\xff", "OK": b"x"}})
    assert found.env == {"OK": "x"}
    assert found.skipped == ("spec.envFrom[0]: keys of the ConfigMap c were left out: JAR (binary)",)


# --- what is refused ---


def _refused(what: AgentRunSpec, data: Data, under: Effective = OPEN) -> Refused:
    with pytest.raises(Refused) as refusal:
        _taken(what, data, under)
    assert SECRET not in str(refusal.value)
    return refusal.value


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("NODE_OPTIONS", "changes which code the agent's process loads"),
        ("LD_PRELOAD", "changes which code the agent's process loads"),
        ("PATH", "is set by the operator"),
        ("STROMBOLI_ENV", "is set by the operator"),
        ("_secret_0", "as the supervisor's names do"),
    ],
)
def test_names_that_env_may_not_have_are_refused_wherever_they_come_from(name: str, why: str) -> None:
    for prefix, key in (("", name), (name[:3], name[3:])):
        refusal = _refused(spec(envFrom=[_from("Secret", "s", prefix)]), {("Secret", "s"): {key: SECRET.encode()}})
        assert refusal.reason == Reason.InvalidSpec
        assert refusal.message.startswith(f"spec.envFrom[0]: key {key} of the Secret s: {name} ")
        assert why in refusal.message


def test_a_value_that_no_variable_can_have_is_refused() -> None:
    for value, why in (
        (SECRET.encode() + b"\0", "has a NUL character in it"),
        (SECRET.encode() + b"\xff", f"is not UTF-8 (byte {len(SECRET)})"),
    ):
        what = spec(env=[_value("A", "Secret", "k")])
        assert _refused(what, {("Secret", "o"): {"k": value}}).message.startswith(
            f"spec.env[0].valueFrom: key k of the Secret o: {why}"
        )
        assert "spec.secretFiles" in _refused(what, {("Secret", "o"): {"k": value}}).message


def test_a_value_that_no_process_can_be_given_is_refused() -> None:
    what = spec(env=[_value("A", "ConfigMap", "k")])
    fits = MAX_STRING - len("A=\0")
    assert _taken(what, {("ConfigMap", "o"): {"k": b"x" * fits}}).env == {"A": "x" * fits}
    refusal = _refused(what, {("ConfigMap", "o"): {"k": b"x" * (fits + 1)}})
    assert refusal.message.startswith(f"spec.env[0].valueFrom: key k of the ConfigMap o: A has {MAX_STRING + 1} bytes")


def test_all_variables_together_have_to_fit() -> None:
    literal = [{"name": f"L{n}", "value": "x" * 32768} for n in range(40)]
    data = {("Secret", "s"): {f"S{n}": b"x" * 100_000 for n in range(5)}}
    assert "a process can be started with" in _refused(spec(env=literal, envFrom=[_from("Secret", "s")]), data).message


def test_all_that_is_taken_has_a_bound() -> None:
    file = {"name": "f", "secretKeyRef": {"name": "s", "key": "k"}}
    room = MAX_TAKEN - 1
    _taken(spec(secretFiles=[file]), {("Secret", "s"): {"k": b"x" * room}})
    refusal = _refused(spec(secretFiles=[file]), {("Secret", "s"): {"k": b"x" * (room + 1)}})
    assert refusal.reason == Reason.InvalidSpec
    assert refusal.message.startswith(
        "spec.secretFiles[0]: with the Secret s, the run takes more than 1048576 bytes from ConfigMaps and Secrets"
    )


def test_an_object_is_named_with_its_kind() -> None:
    assert str(Object("ConfigMap", "c")) == "ConfigMap c"
