"""Several policies, and the operator's settings, as the one that holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli.errors import Refused
from stromboli.grammar import reference
from stromboli.models.agentpolicy import Network, PullPolicy, PullSecretRef, SecretRef
from stromboli.plan import admission, volumes
from stromboli.plan import policy as policies
from stromboli.plan.compose_rules import ComposeRules
from stromboli.plan.limits import Limits
from stromboli.plan.policy import DEFAULT_TIMEOUT, SETTINGS, Effective, Rules
from stromboli.reasons import Reason
from tests.support.builders import CLI_IMAGE, effective, policy

DIGEST = "sha256:" + "a" * 64


def _refused(*found: Rules, **settings: Any) -> str:
    with pytest.raises(Refused) as refusal:
        effective(*found, **settings)
    assert refusal.value.reason is Reason.PolicyViolation
    return refusal.value.message


# --- which namespaces ---

ONE = {"team": "a", "tier": ""}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {}, True),
        ({}, ONE, True),
        ({"matchLabels": {}}, ONE, True),
        ({"matchLabels": {"team": "a"}}, ONE, True),
        ({"matchLabels": {"team": "b"}}, ONE, False),
        ({"matchLabels": {"team": "a"}}, {}, False),
        ({"matchLabels": {"tier": ""}}, ONE, True),
        ({"matchLabels": {"tier": ""}}, {}, False),
        ({"matchLabels": {"team": "a", "x": "y"}}, ONE, False),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}, ONE, True),
        ({"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}, ONE, False),
        ({"matchExpressions": [{"key": "other", "operator": "In", "values": [""]}]}, ONE, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["a"]}]}, ONE, False),
        ({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["b"]}]}, ONE, True),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["b"]}]}, ONE, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, ONE, True),
        ({"matchExpressions": [{"key": "other", "operator": "Exists"}]}, ONE, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, ONE, False),
        ({"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]}, ONE, True),
        (
            {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            ONE,
            False,
        ),
    ],
)
def test_selectors(selector: dict[str, Any] | None, labels: dict[str, str], selected: bool) -> None:
    chosen = policy() if selector is None else policy(namespaceSelector=selector)
    assert policies.selects(chosen, labels) is selected


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "NotIn", "values": []},
        {"key": "a", "operator": "Exists", "values": ["x"]},
        {"key": "a", "operator": "DoesNotExist", "values": ["x"]},
    ],
)
def test_a_selector_without_sense_closes_the_door(expression: dict[str, Any]) -> None:
    """It would select nothing, and a restriction would silently be none."""
    chosen = policy("odd", namespaceSelector={"matchLabels": {"no": "match"}, "matchExpressions": [expression]})
    with pytest.raises(Refused, match="AgentPolicy odd: namespaceSelector: In and NotIn need values"):
        policies.selects(chosen, {})


# --- what holds without anybody saying ---


def test_nobody_says_anything() -> None:
    assert effective() == Effective(
        allowlists=(),
        require_digest=None,
        pull_policy=PullPolicy.IfNotPresent,
        cli=policies.CLI(reference.parse(f"{CLI_IMAGE}:latest"), PullPolicy.IfNotPresent, "bin/claude"),
        image=None,
        memory=None,
        cpus=None,
        timeout=DEFAULT_TIMEOUT,
        limits=Limits(),
        volumes=(),
        network=Network.bridge,
        env={},
        secret=None,
        compose=ComposeRules(),
    )


def test_a_policy_that_says_nothing_changes_nothing() -> None:
    empty = policy("empty", images={}, cli={}, defaults={}, env=[])
    assert effective(empty) == effective()


def test_each_value_of_one_policy() -> None:
    found = effective(
        policy(
            "all",
            images={"allowed": ["python:*"], "requireDigest": True, "pullPolicy": "Always"},
            defaults={"image": "python:3.12", "memory": "1Gi", "cpus": "1500m", "timeout": "1h", "ttl": "2h"},
            historyLimit=20,
            volumes={"allowed": [{"path": "/srv", "readOnly": True}]},
            network="none",
            env=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}, {"name": "E"}],
            credentials={"secretRef": {"name": "claude", "namespace": "vault"}},
        )
    )
    assert [(a.owner, [p.text for p in a.patterns]) for a in found.allowlists] == [("AgentPolicy all", ["python:*"])]
    assert found.require_digest == "AgentPolicy all"
    assert found.pull_policy is PullPolicy.Always
    assert found.image == "docker.io/library/python:3.12"
    assert (found.memory, found.cpus, found.timeout) == (1024**3, 1500, 3600.0)
    assert (found.ttl, found.history_limit) == (7200.0, 20)
    assert [(v.owner, v.folders) for v in found.volumes] == [("AgentPolicy all", (("/srv", True),))]
    assert found.network is Network.none
    assert found.env == {"A": "1", "B": "2", "E": ""}
    assert found.secret == SecretRef(name="claude", namespace="vault")


def test_the_settings_hold_where_no_policy_speaks() -> None:
    found = effective(
        image="node:22",
        allowed_image_patterns=("node:*",),
        allowed_volumes=("/srv", "/data"),
        auto_pull_cli=False,
    )
    assert found.image == "node:22"
    assert [a.owner for a in found.allowlists] == [SETTINGS]
    assert found.volumes[0].folders == (("/srv", False), ("/data", False))
    assert found.cli.pull is PullPolicy.Never


def test_a_policy_goes_before_the_settings_values() -> None:
    found = effective(policy(defaults={"image": "python:3.13"}, cli={"pull": "Always"}), image="node:22")
    assert found.image == "docker.io/library/python:3.13"
    assert found.cli.pull is PullPolicy.Always


# --- several ---

CONFLICTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "images.pullPolicy": ({"images": {"pullPolicy": "Always"}}, {"images": {"pullPolicy": "Never"}}),
    "defaults.image": ({"defaults": {"image": "python"}}, {"defaults": {"image": "node"}}),
    "defaults.memory": ({"defaults": {"memory": "1Gi"}}, {"defaults": {"memory": "1G"}}),
    "defaults.cpus": ({"defaults": {"cpus": 1}}, {"defaults": {"cpus": "1001m"}}),
    "defaults.timeout": ({"defaults": {"timeout": "1h"}}, {"defaults": {"timeout": "61m"}}),
    "defaults.ttl": ({"defaults": {"ttl": "1h"}}, {"defaults": {"ttl": "61m"}}),
    "cli.image": ({"cli": {"image": "a.example/c"}}, {"cli": {"image": "b.example/c"}}),
    "cli.tag": ({"cli": {"tag": "1"}}, {"cli": {"tag": "2"}}),
    "cli.pull": ({"cli": {"pull": "Always"}}, {"cli": {"pull": "Never"}}),
    "cli.mount": ({"cli": {"mount": True}}, {"cli": {"mount": False}}),
    "cli.path": ({"cli": {"path": "bin/claude"}}, {"cli": {"path": "claude"}}),
    "env PROXY": (
        {"env": [{"name": "PROXY", "value": "a"}]},
        {"env": [{"name": "X"}, {"name": "PROXY", "value": "b"}]},
    ),
    "credentials": (
        {"credentials": {"secretRef": {"name": "a"}}},
        {"credentials": {"secretRef": {"name": "a", "namespace": "b"}}},
    ),
}


@pytest.mark.parametrize("field", CONFLICTS)
def test_two_that_differ_are_named_both(field: str) -> None:
    one, other = CONFLICTS[field]
    message = _refused(policy("second", **other), policy("middle"), policy("first", **one))
    assert message.startswith(f"AgentPolicy first and AgentPolicy second set different values for {field};")
    assert "make them agree" in message


@pytest.mark.parametrize("field", CONFLICTS)
def test_two_that_agree_are_as_one(field: str) -> None:
    one, _ = CONFLICTS[field]
    assert effective(policy("a", **one), policy("b", **one)) == effective(policy("a", **one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"memory": "1Gi"}, {"memory": "1024Mi"}),
        ({"memory": 1073741824}, {"memory": "1Gi"}),
        ({"cpus": "0.5"}, {"cpus": "500m"}),
        ({"cpus": 2}, {"cpus": "2"}),
        ({"timeout": "60m"}, {"timeout": "1h"}),
        ({"ttl": "60m"}, {"ttl": "1h"}),
        ({"image": "python"}, {"image": "docker.io/library/python:latest"}),
    ],
)
def test_the_same_in_other_words_agrees(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert effective(policy("a", defaults=one), policy("b", defaults=other)) == effective(policy("a", defaults=one))


def test_of_several_limits_of_the_history_the_lowest_applies() -> None:
    found = effective(policy("a", historyLimit=3), policy("b", historyLimit=0), policy("c"))
    assert found.history_limit == 0, "0 is a limit too"


def test_the_order_in_which_they_are_found_does_not_matter() -> None:
    a = policy("a", images={"allowed": ["a/*"], "requireDigest": True}, env=[{"name": "A", "value": "1"}])
    b = policy("b", images={"allowed": ["b/*"], "requireDigest": True}, env=[{"name": "B", "value": "2"}])
    assert effective(a, b) == effective(b, a)
    assert effective(a, b).require_digest == "AgentPolicy a"


def test_each_allowlist_stays_its_owners() -> None:
    found = effective(
        policy("b", images={"allowed": ["python:*"]}),
        policy("a", images={"allowed": []}),
        policy("c", images={"allowed": ["**"]}),
        allowed_image_patterns=("node:*",),
    )
    assert [a.owner for a in found.allowlists] == [SETTINGS, "AgentPolicy b", "AgentPolicy c"]


def test_each_list_of_volumes_stays_its_owners_and_an_empty_one_counts() -> None:
    found = effective(policy("a", volumes={}), policy("b"), policy("c", volumes={"allowed": [{"path": "/srv"}]}))
    assert [(v.owner, len(v.folders)) for v in found.volumes] == [("AgentPolicy a", 0), ("AgentPolicy c", 1)]


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ([], Network.bridge),
        (["bridge"], Network.bridge),
        (["bridge", "none"], Network.none),
        (["none", None], Network.none),
        (["bridge", None, "bridge"], Network.bridge),
    ],
)
def test_none_beats_bridge(networks: list[str | None], expected: Network) -> None:
    found = [policy(f"p{n}", **({"network": w} if w else {})) for n, w in enumerate(networks)]
    assert effective(*found).network is expected


def test_secrets_for_pulls_add_up() -> None:
    one, other, vault = {"name": "one"}, {"name": "other"}, {"name": "one", "namespace": "vault"}
    found = policies.combine(
        [
            policy("b", images={"pullSecrets": [other, vault]}),
            policy("a", images={"pullSecrets": [one, other]}),
            policy("c", images={"allowed": ["**"]}),
            policy("d"),
        ],
        policies.Base(cli_image=CLI_IMAGE),
    )
    assert found.pull_secrets == tuple(PullSecretRef(**each) for each in (one, other, vault))


def test_one_policy_that_wants_digests_is_enough() -> None:
    assert effective(policy("a"), policy("b", images={"requireDigest": True})).require_digest == "AgentPolicy b"


# --- what cannot be read ---


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"images": {"allowed": ["python:*", "python:[z-a]"]}},
            "images.allowed[1]: 'python:[z-a]' is not an image pat",
        ),
        ({"images": {"allowed": ["{a,b}"]}}, "images.allowed[0]: "),
        ({"defaults": {"memory": "512m"}}, "defaults.memory: '512m' is a fraction of a byte"),
        ({"defaults": {"memory": "1Mi"}}, "defaults.memory: 1Mi is less than the 6Mi"),
        ({"defaults": {"cpus": "0"}}, "defaults.cpus: '0' is not above zero"),
        ({"defaults": {"timeout": "10"}}, "defaults.timeout: '10' is not a duration"),
        ({"defaults": {"ttl": "7d"}}, "defaults.ttl: '7d' is not a duration; the longest unit is h: write 168h"),
        ({"defaults": {"timeout": "1ms"}}, "defaults.timeout: '1ms' is less than a second"),
        ({"defaults": {"timeout": "200h"}}, "defaults.timeout: '200h' is too long"),
        ({"defaults": {"image": "docker://python"}}, "defaults.image: 'docker://python' is not an image reference"),
        ({"cli": {"image": "Claude"}}, "cli.image: 'Claude:latest' is not an image reference"),
    ],
)
def test_a_policy_that_makes_no_sense_is_named(fields: dict[str, Any], said: str) -> None:
    message = _refused(policy("odd", **fields), policy("sound", images={"allowed": ["**"]}))
    assert message.startswith(f"AgentPolicy odd: {said}")
    assert message.endswith("an administrator has to correct it")


def test_a_cli_image_out_of_two_policies_names_both() -> None:
    message = _refused(policy("a", cli={"image": "a.example/C"}), policy("b", cli={"tag": "1"}), policy("c"))
    assert message.startswith("AgentPolicy a and AgentPolicy b: cli.image: ")


# --- the CLI's image ---


@pytest.mark.parametrize(
    ("cli", "settings", "expected"),
    [
        ({}, {}, f"{CLI_IMAGE}:latest"),
        ({}, {"cli_image_tag": "2.1"}, f"{CLI_IMAGE}:2.1"),
        ({"tag": "3"}, {"cli_image_tag": "2.1"}, f"{CLI_IMAGE}:3"),
        ({"image": "a.example/c"}, {}, "a.example/c:latest"),
        # the tag of the settings belongs to the image of the settings
        ({"image": "a.example/c"}, {"cli_image_tag": "2.1"}, "a.example/c:latest"),
        ({"image": "a.example/c", "tag": "4"}, {}, "a.example/c:4"),
        ({"image": "a.example/c:5"}, {}, "a.example/c:5"),
        ({"image": "a.example:5000/c"}, {}, "a.example:5000/c:latest"),
        ({"image": "a.example:5000/c", "tag": "4"}, {}, "a.example:5000/c:4"),
        ({"image": f"a.example/c@{DIGEST}"}, {}, f"a.example/c@{DIGEST}"),
        ({"image": f"a.example/c:5@{DIGEST}", "tag": "4"}, {}, f"a.example/c:5@{DIGEST}"),
        ({"image": "claude"}, {}, "docker.io/library/claude:latest"),
        ({}, {"cli_image": f"a.example/c@{DIGEST}"}, f"a.example/c@{DIGEST}"),
        ({}, {"cli_image": "a.example/c:7"}, "a.example/c:7"),
    ],
)
def test_the_reference_of_the_cli(cli: dict[str, Any], settings: dict[str, Any], expected: str) -> None:
    assert str(effective(policy(cli=cli), **settings).cli.reference) == expected


@pytest.mark.parametrize(
    ("mount", "setting", "mounted"),
    [(None, True, True), (None, False, False), (True, False, True), (False, True, False)],
)
def test_whether_the_cli_is_mounted(mount: bool | None, setting: bool, mounted: bool) -> None:
    cli = {} if mount is None else {"mount": mount}
    assert (effective(policy(cli=cli), mount_claude_cli=setting).cli.reference is not None) is mounted


def test_the_path_in_the_cli_image() -> None:
    assert effective(policy(cli={"path": "usr/bin/claude"})).cli.path == "usr/bin/claude"


def test_image_rules_do_not_apply_to_the_cli() -> None:
    found = effective(policy(images={"allowed": ["python:*"], "requireDigest": True}))
    assert found.cli.reference is not None


# --- another policy never allows more ---

PATTERNS = st.lists(st.sampled_from(["python:*", "python", "ghcr.io/a/*", "**", "*", "node:2*"]), max_size=3)
FOLDERS = st.lists(
    st.fixed_dictionaries({"path": st.sampled_from(["/", "/srv", "/srv/code", "/data"]), "readOnly": st.booleans()}),
    max_size=3,
)
POLICIES = st.builds(
    lambda name, images, digest, folders, network: policy(
        name,
        images={"allowed": images, "requireDigest": digest},
        **({} if folders is None else {"volumes": {"allowed": folders}}),
        **({} if network is None else {"network": network}),
    ),
    st.sampled_from("abcdef"),
    PATTERNS,
    st.booleans(),
    st.none() | FOLDERS,
    st.sampled_from([None, "bridge", "none"]),
)
IMAGES = st.sampled_from(["python", "python:3.12", "node:22", "ghcr.io/a/b:1", f"python@{DIGEST}", "evil.example/x"])
VOLUMES = st.sampled_from(["/srv:/w", "/srv/code/x:/w", "/srv/code:/w:ro", "/data:/w:ro", "/etc:/w"])


def _allows_image(what: Effective, image: str) -> bool:
    try:
        admission.admit(image, what, "spec.image")
    except Refused:
        return False
    return True


def _allows_volume(what: Effective, text: str) -> bool:
    try:
        volumes.judge(volumes.parse([text])[0], what.volumes)
    except Refused:
        return False
    return True


@given(st.lists(POLICIES, max_size=4), POLICIES, PATTERNS, IMAGES)
def test_another_policy_never_allows_another_image(
    found: list[Rules], another: Rules, settings: list[str], image: str
) -> None:
    before = effective(*found, allowed_image_patterns=tuple(settings))
    after = effective(*found, another, allowed_image_patterns=tuple(settings))
    assert _allows_image(before, image) or not _allows_image(after, image)


@given(st.lists(POLICIES, max_size=4), POLICIES, VOLUMES)
def test_another_policy_never_allows_another_volume(found: list[Rules], another: Rules, volume: str) -> None:
    """But for the first that speaks of volumes: without any, no host path is allowed."""
    before = effective(*found, allowed_volumes=("/srv", "/data"))
    after = effective(*found, another, allowed_volumes=("/srv", "/data"))
    assert _allows_volume(before, volume) or not _allows_volume(after, volume)


@given(st.lists(POLICIES, max_size=4), POLICIES)
def test_another_policy_never_opens_the_network(found: list[Rules], another: Rules) -> None:
    assert effective(*found).network is not Network.none or effective(*found, another).network is Network.none
