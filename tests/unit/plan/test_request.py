"""A spec under a policy: each refusal with its reason and what would be right, their order, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest

from stromboli.errors import Refused
from stromboli.models.agentrun import AgentRunSpec
from stromboli.plan import request
from stromboli.plan.policy import DEFAULT_TIMEOUT, Effective
from stromboli.plan.request import Request
from stromboli.plan.volumes import Volume
from stromboli.reasons import Reason
from tests.support.builders import effective, policy, spec

OPEN = effective(policy("open", volumes={"allowed": [{"path": "/srv"}]}))
INVALID = Reason.InvalidSpec


def _refusal(what: AgentRunSpec, under: Effective = OPEN) -> Refused:
    with pytest.raises(Refused) as refusal:
        request.build(what, under)
    assert str(refusal.value) == refusal.value.message
    return refusal.value


# --- bad input: the field, what is wrong, what would be right ---

BAD: dict[str, tuple[dict[str, Any], Reason, str, str]] = {
    "no image at all": ({"image": None}, INVALID, "spec.image", "write one, such as python:3.12"),
    "uppercase path": ({"image": "Python:3"}, INVALID, "spec.image", "write python instead of Python"),
    "transport": ({"image": "docker://python"}, INVALID, "spec.image", "write the image's name alone"),
    "space in a reference": ({"image": "python 3"}, INVALID, "spec.image", "remove it"),
    "NUL in a reference": ({"image": "python\0"}, INVALID, "spec.image", "'\\x00' is not allowed; use a-z"),
    "an image's id": ({"image": "a" * 64}, INVALID, "spec.image", "such as python@sha256:"),
    "no prompt": ({"prompt": None}, INVALID, "spec", "give exactly one of prompt and promptFrom"),
    "two prompts": (
        {"promptFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
        INVALID,
        "spec",
        "give exactly one of prompt and promptFrom",
    ),
    "no source of the prompt": (
        {"prompt": None, "promptFrom": {}},
        INVALID,
        "spec.promptFrom",
        "give exactly one of configMapKeyRef and secretKeyRef",
    ),
    "two sources of the prompt": (
        {
            "prompt": None,
            "promptFrom": {
                "configMapKeyRef": {"name": "a", "key": "b"},
                "secretKeyRef": {"name": "a", "key": "b"},
            },
        },
        INVALID,
        "spec.promptFrom",
        "give exactly one of configMapKeyRef and secretKeyRef",
    ),
    "blank prompt": ({"prompt": " \n\t"}, INVALID, "spec.prompt", "write what the agent should do"),
    "timeout without a unit": ({"timeout": "10"}, INVALID, "spec.timeout", "write 10s for seconds or 10m"),
    "zero timeout": ({"timeout": "0s"}, INVALID, "spec.timeout", "such as 90s, 10m or 1h30m"),
    "negative timeout": ({"timeout": "-5m"}, INVALID, "spec.timeout", "is not above zero"),
    "absurd timeout": ({"timeout": "169h"}, INVALID, "spec.timeout", "write at most 168h"),
    "timeout of a moment": ({"timeout": "999ms"}, INVALID, "spec.timeout", "less than a second; write a duration such"),
    "timeout with a newline": ({"timeout": "10m\n"}, INVALID, "spec.timeout", "is not a duration"),
    "value and valueFrom": (
        {"env": [{"name": "A", "value": "", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        INVALID,
        "spec.env[0]",
        "give value or valueFrom, not both",
    ),
    "no source of a value": (
        {"env": [{"name": "A", "valueFrom": {}}]},
        INVALID,
        "spec.env[0].valueFrom",
        "give exactly one of secretKeyRef and configMapKeyRef",
    ),
    "a value from elsewhere for a variable that loads code": (
        {"env": [{"name": "LD_PRELOAD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        INVALID,
        "spec.env[0]",
        "leave it out",
    ),
    "two objects in one source": (
        {"envFrom": [{"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}]},
        INVALID,
        "spec.envFrom[0]",
        "give exactly one of secretRef and configMapRef",
    ),
    "a prefix that is no beginning": (
        {"envFrom": [{"secretRef": {"name": "s"}, "prefix": "1-"}]},
        INVALID,
        "spec.envFrom[0].prefix",
        "not beginning with a digit",
    ),
    "a secret file above its folder": (
        {"secretFiles": [{"name": "..", "secretKeyRef": {"name": "s", "key": "k"}}]},
        INVALID,
        "spec.secretFiles[0].name",
        "neither . nor ..",
    ),
    "a secret file with a folder": (
        {"secretFiles": [{"name": "a/b", "secretKeyRef": {"name": "s", "key": "k"}}]},
        INVALID,
        "spec.secretFiles[0].name",
        "letters, digits, -, _ and . only",
    ),
    "two secret files of one name": (
        {"secretFiles": [{"name": "a", "secretKeyRef": {"name": "s", "key": k}} for k in ("k", "l")]},
        INVALID,
        "spec.secretFiles[1].name",
        "keep one",
    ),
    "an image beside an environment": (
        {"environment": {"type": "compose", "inline": "x"}},
        INVALID,
        "spec.image",
        "in environment.images",
    ),
    "no source of the environment": (
        {"image": None, "environment": {"type": "compose", "paths": []}},
        INVALID,
        "spec.environment",
        "give exactly one of path, paths, inline and configMapKeyRef",
    ),
    "two sources of the environment": (
        {"image": None, "environment": {"type": "compose", "path": "/a", "inline": "x"}},
        INVALID,
        "spec.environment",
        "give exactly one of path, paths, inline and configMapKeyRef",
    ),
    "relative path of an environment": (
        {"image": None, "environment": {"type": "compose", "path": "compose.yml"}},
        INVALID,
        "spec.environment.path",
        "write an absolute path",
    ),
    ".. in a path of an environment": (
        {"image": None, "environment": {"type": "compose", "paths": ["/a", "/b/../c"]}},
        INVALID,
        "spec.environment.paths[1]",
        "write the path that is meant",
    ),
    "no image for a service": (
        {"image": None, "environment": {"type": "compose", "inline": "x", "images": {"db": "docker://a"}}},
        INVALID,
        "spec.environment.images.db",
        "write the image's name alone",
    ),
    "relative workdir": ({"workdir": "app"}, INVALID, "spec.workdir", "write an absolute path such as /workspace"),
    "empty part": ({"workdir": "./app"}, INVALID, "spec.workdir", "write an absolute path such as /workspace"),
    "a name too long in workdir": ({"workdir": "/" + "é" * 128}, INVALID, "spec.workdir", "256 bytes"),
    "a workdir too long": ({"workdir": f"/{'é' * 100}" * 30}, INVALID, "spec.workdir", "the path has 6030 bytes"),
    "a name too long in a volume": ({"volumes": ["/srv:/" + "x" * 256]}, INVALID, "spec.volumes[0]", "256 bytes"),
    "a host's name too long": ({"volumes": [f"/srv/{'x' * 256}:/w"]}, INVALID, "spec.volumes[0]", "shorter one"),
    ".. in workdir": ({"workdir": "/app/../etc"}, INVALID, "spec.workdir", "write the path that is meant"),
    "volume that is none": ({"volumes": ["data"]}, INVALID, "spec.volumes[0]", "such as /srv/code:/workspace:ro"),
    "volume by name": ({"volumes": ["data:/w"]}, INVALID, "spec.volumes[0]", "'data' is not an absolute path"),
    "volume over the CLI": ({"volumes": ["/srv:/opt/claude"]}, INVALID, "spec.volumes[0]", "such as /workspace"),
    "volume over /proc": ({"volumes": ["/srv:/proc"]}, INVALID, "spec.volumes[0]", "such as /workspace"),
    "volume over /": ({"volumes": ["/srv:/"]}, INVALID, "spec.volumes[0]", "such as /workspace"),
    "volume over ours": ({"volumes": ["/srv:/run/stromboli/out"]}, INVALID, "spec.volumes[0]", "such as /workspace"),
    ".. in a volume": ({"volumes": ["/srv/../etc:/w"]}, INVALID, "spec.volumes[0]", "write the path that is meant"),
    "volume outside the policy": (
        {"volumes": ["/srv/a:/a", "/etc:/w"]},
        Reason.PolicyViolation,
        "the volume /etc (rw)",
        "which allows /srv (rw)",
    ),
    "env name that is none": ({"env": [{"name": "A-B"}]}, INVALID, "spec.env[0]", "letters, digits and _ only"),
    "env name with a digit first": ({"env": [{"name": "1A"}]}, INVALID, "spec.env[0]", "not beginning with a digit"),
    "env name with a newline": ({"env": [{"name": "A\n"}]}, INVALID, "spec.env[0]", "letters, digits and _ only"),
    "env name with =": ({"env": [{"name": "A=B"}]}, INVALID, "spec.env[0]", "letters, digits and _ only"),
    "env name of another script": ({"env": [{"name": "É"}]}, INVALID, "spec.env[0]", "letters, digits and _ only"),
    "env twice": ({"env": [{"name": "A"}, {"name": "A"}]}, INVALID, "spec.env[1]", "given twice; keep one"),
    "memory: 512m": ({"resources": {"memory": "512m"}}, INVALID, "spec.resources.memory", "write 512Mi"),
    "memory of 5Mi": ({"resources": {"memory": "5Mi"}}, INVALID, "spec.resources.memory", "less than the 6Mi"),
    "memory as a bare number": ({"resources": {"memory": 512}}, INVALID, "spec.resources.memory", "less than the 6Mi"),
    "negative memory": ({"resources": {"memory": "-1Gi"}}, INVALID, "spec.resources.memory", "is not above zero"),
    "memory past an int64": ({"resources": {"memory": "9999E"}}, INVALID, "spec.resources.memory", "512Mi"),
    "no cpus": ({"resources": {"cpus": 0}}, INVALID, "spec.resources.cpus", "write 2, 0.5 or 500m"),
    "cpus finer than can be": ({"resources": {"cpus": 0.0001}}, INVALID, "spec.resources.cpus", "write 1m or more"),
    "more cpus than can be": ({"resources": {"cpus": 1e9}}, INVALID, "spec.resources.cpus", "write 2 or 500m"),
    "cpus in a unit": ({"resources": {"cpus": "2 cores"}}, INVALID, "spec.resources.cpus", "write 2, 0.5 or 500m"),
    "a schema in no JSON": ({"claude": {"jsonSchema": "{"}}, INVALID, "spec.claude.jsonSchema", "not JSON"),
    "a schema that is no object": (
        {"claude": {"jsonSchema": "[]"}},
        INVALID,
        "spec.claude.jsonSchema",
        "keys and values",
    ),
    "agents as a list": ({"claude": {"agents": []}}, INVALID, "spec.claude.agents", "write keys and values"),
    "agents as a path": ({"claude": {"agents": "/a.json"}}, INVALID, "spec.claude.agents", "not JSON"),
    "settings as a word": ({"claude": {"settings": "fast"}}, INVALID, "spec.claude.settings", "not JSON"),
    "settings as a path with NUL": (
        {"claude": {"settings": "/a\0"}},
        INVALID,
        "spec.claude.settings",
        "none of them NUL",
    ),
    "an MCP configuration as a number": (
        {"claude": {"mcpConfigs": ["/ok", 5]}},
        INVALID,
        "spec.claude.mcpConfigs[1]",
        "write keys and values",
    ),
}
for _name in (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_X",
    "BASH_ENV",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "NODE_OPTIONS",
):
    BAD[f"env {_name}"] = ({"env": [{"name": _name}]}, INVALID, "spec.env[0]", f"{_name} changes which code")
for _name in ("HOME", "PATH", "CLAUDE_CONFIG_DIR", "IS_SANDBOX", "STROMBOLI_", "STROMBOLI_X"):
    BAD[f"env {_name}"] = ({"env": [{"name": _name}]}, INVALID, "spec.env[0]", f"{_name} is set by the operator")


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    fields, reason, field, right = BAD[case]
    refusal = _refusal(spec(**fields))
    assert refusal.reason is reason
    assert refusal.message.startswith(field + (":" if reason is INVALID else ""))
    assert right in refusal.message
    assert "\0" not in refusal.message


@pytest.mark.parametrize("check", request.CHECKS, ids=lambda c: c.__name__)
def test_each_check_lets_a_sound_run_pass(check: request.Check) -> None:
    check(spec(volumes=["/srv/a:/w"], env=[{"name": "A"}], workdir="/w", timeout="5m"), OPEN)


def test_a_path_that_is_read_back_with_a_nul_is_refused_here_too() -> None:
    """The schema and the model refuse it before; what writes it into a shell's script must never see it."""
    what = spec().model_copy(update={"workdir": "/a\0"})
    assert _refusal(what).message.startswith("spec.workdir: has a NUL character")


# --- the order is the specification ---

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("spec.image: ", {"image": "Python"}),
    ("spec: ", {"prompt": None}),
    ("spec.timeout: ", {"timeout": "x"}),
    ("spec.workdir: ", {"workdir": "x"}),
    ("spec.volumes[0]: ", {"volumes": ["data"]}),
    ("spec.env[0]: ", {"env": [{"name": "1"}]}),
    ("spec.resources.memory: ", {"resources": {"memory": "x"}}),
    ("spec.claude.agents: ", {"claude": {"agents": 1}}),
]


@pytest.mark.parametrize("first", range(len(WRONG)))
def test_the_first_that_is_wrong_is_what_is_said(first: int) -> None:
    fields = {name: value for _, wrong in WRONG[first:] for name, value in wrong.items()}
    assert _refusal(spec(**fields)).message.startswith(WRONG[first][0])


# --- where its end is reported to ---


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?token=x", "https://localhost/", "http://1.1.1.1/", "http://[2606:4700::1111]:80/"]
)
def test_a_receiver_at_a_public_address_or_a_name_may_be_named(url: str) -> None:
    request.build(spec(notify={"url": url}), effective())


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[::ffff:10.0.0.1]:8080", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_a_receiver_at_an_address_that_no_policy_allows_is_refused(host: str, address: str) -> None:
    refusal = _refusal(spec(notify={"url": f"http://{host}/hook?token=s3cret"}))
    assert refusal.reason is Reason.PolicyViolation
    assert refusal.message.startswith(f"spec.notify.url: {address} is a ")
    assert refusal.message.endswith(
        ", and no policy has it in notify.allowedNetworks; name a receiver at a public address, or ask an administrator"
    )


def test_a_policy_may_allow_it() -> None:
    allowing = policy(notify={"allowedNetworks": ["10.0.0.0/8"]})
    request.build(spec(notify={"url": "http://10.1.2.3:8080/hook"}), effective(allowing))


@pytest.mark.parametrize("url", ["http://127.1/", "https://example.com:99999/"])
def test_what_the_schema_does_not_check_of_a_url(url: str) -> None:
    stored = spec(notify={"url": "https://example.com"})
    assert stored.notify is not None
    read = stored.model_copy(update={"notify": stored.notify.model_copy(update={"url": url})})
    assert _refusal(read).message.startswith("spec.notify.url: has the ")


@pytest.mark.parametrize("name", ["localhost/stromboli/session:u", "LOCALHOST/stromboli/session@sha256:" + "0" * 64])
def test_a_sessions_copy_is_nobodys_image(name: str) -> None:
    with pytest.raises(Refused, match="is the copy of a session") as refused:
        request.build(spec(image=name), effective(policy(images={"allowed": ["**"]})))
    assert refused.value.reason is Reason.ImageNotAllowed


def test_the_order_of_the_checks() -> None:
    assert [check.__name__ for check in request.CHECKS] == [
        "prompt_is_given_once",
        "timeouts_are_sane",
        "workdir_is_a_place",
        "environment_is_one_that_is_allowed",
        "gateway_is_a_place",
        "volumes_are_allowed",
        "env_names_are_free",
        "sources_are_given_once",
        "resources_are_quantities",
        "nothing_is_over_a_ceiling",
        "documents_are_json",
        "notification_has_a_receiver",
        "notification_may_go_there",
        "documents_set_none_of_others",
        "arguments_and_variables_fit",
    ]


# --- environments ---

STACK: dict[str, Any] = {"image": None, "environment": {"type": "compose", "inline": "services: {}", "service": "dev"}}


def test_with_an_environment_the_image_is_the_services() -> None:
    under = effective(policy("a", defaults={"image": "python:3.12"}, images={"allowed": ["node:*"]}))
    built = request.build(spec(**STACK, workdir="/w"), under)
    assert built.image is None
    assert built.environment == spec(**STACK).environment
    assert built.workdir == "/w"
    assert request.build(spec(), OPEN).environment is None


def test_a_policy_may_turn_environments_off() -> None:
    refusal = _refusal(spec(**STACK), effective(policy("strict", compose={"enabled": False})))
    assert refusal.reason is Reason.PolicyViolation
    assert refusal.message == (
        "spec.environment: AgentPolicy strict sets compose.enabled: false; use spec.image, or ask an administrator"
    )


# --- the image ---


def test_an_image_that_no_pattern_allows() -> None:
    under = effective(policy("team", images={"allowed": ["python:3.*", "node:*"]}))
    refusal = _refusal(spec(image="python:2.7"), under)
    assert refusal.reason is Reason.ImageNotAllowed
    assert refusal.message == (
        "spec.image: the image docker.io/library/python:2.7 is not allowed by AgentPolicy team, which allows "
        "python:3.*, node:*"
    )


def test_every_allowlist_has_to_allow_it() -> None:
    under = effective(policy("a", images={"allowed": ["**"]}), allowed_image_patterns=("node:*",))
    assert "is not allowed by the operator's settings, which allows node:*" in _refusal(spec(), under).message


def test_an_image_without_the_digest_that_is_required() -> None:
    under = effective(policy("strict", images={"requireDigest": True}))
    refusal = _refusal(spec(image="ghcr.io/a/b:1"), under)
    assert refusal.reason is Reason.ImageNotAllowed
    assert "AgentPolicy strict requires; write ghcr.io/a/b@sha256:…" in refusal.message
    digest = f"sha256:{'0' * 64}"
    image = request.build(spec(image=f"ghcr.io/a/b@{digest}"), under).image
    assert image is not None
    assert image.digest == digest


def test_the_policys_image_is_judged_like_any() -> None:
    under = effective(policy(images={"allowed": ["node:*"]}, defaults={"image": "python:3.12"}))
    assert _refusal(spec(image=None), under).reason is Reason.ImageNotAllowed


def test_an_image_of_the_settings_that_is_malformed() -> None:
    refusal = _refusal(spec(image=None), effective(image="Python"))
    assert refusal.message.startswith("defaults.image of the policy: ")


# --- env ---


def test_the_administrators_variables_cannot_be_changed() -> None:
    under = effective(policy(env=[{"name": "HTTPS_PROXY", "value": "http://proxy"}]))
    refusal = _refusal(spec(env=[{"name": "HTTPS_PROXY", "value": ""}]), under)
    assert refusal.reason is Reason.PolicyViolation
    assert refusal.message == "spec.env[0]: HTTPS_PROXY is set by a policy and cannot be changed; leave it out"


def test_the_same_value_as_the_administrators_is_no_change() -> None:
    under = effective(policy(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))
    built = request.build(spec(env=[{"name": "A", "value": "1"}, {"name": "C", "value": "ü\n"}]), under)
    assert built.env == {"A": "1", "B": "2", "C": "ü\n"}


# --- a gateway on the node ---


def _with_gateway(socket: str) -> Effective:
    return effective(policy(env=[{"name": "ANTHROPIC_UNIX_SOCKET", "value": socket}]))


def test_a_gateways_socket_is_seen_where_it_is_mounted() -> None:
    built = request.build(spec(), _with_gateway("/srv//gateway/./api.sock"))
    assert built.gateway_socket == "/srv/gateway/api.sock"
    assert built.env["ANTHROPIC_UNIX_SOCKET"] == "/run/stromboli/gateway/api.sock"
    assert built.env["ANTHROPIC_BASE_URL"].startswith("http://")


def test_a_gateways_own_address_stays() -> None:
    under = effective(
        policy(
            env=[
                {"name": "ANTHROPIC_UNIX_SOCKET", "value": "/srv/gateway/api.sock"},
                {"name": "ANTHROPIC_BASE_URL", "value": "https://api.example"},
            ]
        )
    )
    assert request.build(spec(), under).env["ANTHROPIC_BASE_URL"] == "https://api.example"


@pytest.mark.parametrize("socket", ["api.sock", "/api.sock", "/", "/srv/../api.sock", "/srv/gateway/", "a/b"])
def test_a_gateway_that_is_no_place_is_the_policys_fault(socket: str) -> None:
    refusal = _refusal(spec(), _with_gateway(socket))
    assert refusal.reason is Reason.PolicyViolation
    assert "ANTHROPIC_UNIX_SOCKET" in refusal.message
    assert "such as /srv/gateway/api.sock" in refusal.message


@pytest.mark.parametrize(("cpus", "thousandths"), [(1.5, 1500), (2.0, 2000), (0.001, 1), ("1.5", 1500), (2, 2000)])
def test_cpus_as_pods_take_them(cpus: object, thousandths: int) -> None:
    assert request.build(spec(resources={"cpus": cpus}), OPEN).cpus == thousandths


def test_no_gateway() -> None:
    assert request.build(spec(), OPEN).gateway_socket is None
    assert request.build(spec(), _with_gateway("")).gateway_socket is None


# --- what comes of it ---


def _built(under: Effective = OPEN, **fields: Any) -> Request:
    return request.build(spec(**fields), under)


def test_a_run_that_asks_for_nothing() -> None:
    built = _built()
    assert str(built.image) == "docker.io/library/python:3.12"
    assert (built.workdir, built.volumes, dict(built.env)) == (None, (), {})
    assert (built.memory, built.cpus, built.cpu_shares, built.pids) == (None, None, None, 2048)
    assert built.timeout == DEFAULT_TIMEOUT == 1800.0


def test_a_run_that_asks_for_everything() -> None:
    built = _built(
        workdir="/w/ä",
        volumes=["/srv/a:/w:ro", "/srv/b:/x"],
        resources={"memory": "1Gi", "cpus": "1.5", "cpuShares": 512, "pids": 100},
        timeout="1h30m",
        claude={"model": "opus"},
    )
    assert built.workdir == "/w/ä"
    assert built.volumes == (Volume("/srv/a", "/w", True), Volume("/srv/b", "/x", False))
    assert (built.memory, built.cpus, built.cpu_shares, built.pids) == (1024**3, 1500, 512, 100)
    assert built.timeout == 5400.0
    assert built.claude.model == "opus"


def test_the_policys_defaults_are_for_who_does_not_say() -> None:
    under = effective(policy(defaults={"memory": "1Gi", "cpus": 2, "timeout": "5m", "image": "node:22"}))
    built = _built(under, image=None)
    assert (str(built.image), built.memory, built.cpus, built.timeout) == (
        "docker.io/library/node:22",
        1024**3,
        2000,
        300.0,
    )
    built = _built(under, resources={"memory": "2Gi"}, timeout="1s")
    assert (built.memory, built.cpus, built.timeout) == (2 * 1024**3, 2000, 1.0)


def test_the_timeout_is_known_without_a_policy() -> None:
    assert request.timeout_of(spec(timeout="2m"), None) == 120.0
    assert request.timeout_of(spec(), None) == DEFAULT_TIMEOUT
    with pytest.raises(Refused, match=r"spec\.timeout"):
        request.timeout_of(spec(timeout="2"), None)
