"""Invalid or extreme input: an error at `kubectl apply` if the schema can detect it, a condition otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.operator import Standin
from tests.support.runs import Object, Runs, condition

MIB = 1 << 20
HELLO = {"prompt": "hello", "image": "python:3.12"}
KEY = {"name": "s", "key": "k"}


@pytest.fixture(scope="module")
def space(spaces: Callable[..., Runs]) -> Runs:
    return spaces("bad-input")


REFERENCE = "is not an image reference: write [registry/]name[:tag][@digest]"
PLACES = "nothing can be mounted over /, /proc, /sys, /dev, /run/stromboli or /opt/claude"
LOADS = "this variable changes which code the agent's process loads"

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("spec", {"prompt": None}, "give exactly one of prompt and promptFrom"),
    ("spec", {"promptFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, "give exactly one of prompt and"),
    ("spec.promptFrom", {"prompt": None, "promptFrom": {}}, "give exactly one of configMapKeyRef and secretKeyRef"),
    ("spec.prompt", {"prompt": ""}, "should be at least 1"),
    ("spec.prompt", {"prompt": "a\0b"}, "has a NUL character in it"),
    ("spec.prompt", {"prompt": "x" * (MIB + 1)}, "may not be more than 1048576"),
    ("spec.prompt", {"prompt": 5}, "expected string"),
    *(
        ("spec.image", {"image": image}, REFERENCE)
        for image in (
            "docker://python:3", "oci-archive:/x", "Python:3", "py thon", "python:", "/python",
            "ghcr.io//x", "python..", "python@sha256:12", "ghcr.io/x/y.", "żółw", "python:3:4",
        )
    ),
    ("spec.image", {"image": "a/" * 300 + "a"}, "may not be more than 512"),
    ("spec.workdir", {"workdir": "workspace"}, "is relative; write an absolute path such as /workspace"),
    ("spec.workdir", {"workdir": "/work/../etc"}, "has a .. in it"),
    ("spec.volumes[0]", {"volumes": ["srv:/work"]}, "is host:container or host:container:ro, both absolute paths"),
    ("spec.volumes[0]", {"volumes": ["/srv:work"]}, "both absolute paths"),
    ("spec.volumes[0]", {"volumes": ["/srv:/work:rx"]}, "both absolute paths"),
    ("spec.volumes[1]", {"volumes": ["/srv:/a", "/srv/../etc:/b"]}, "has a .. in a path"),
    *(
        ("spec.volumes[0]", {"volumes": [f"/srv:{target}"]}, PLACES)
        for target in ("/", "/proc", "/proc/sys", "/dev:ro", "/sys/", "/opt/claude", "/opt/claude/bin", "//opt//claude",
                       "/run/stromboli/plan", "/run", "/opt")
    ),
    ("spec.env[0].name", {"env": [{"name": "1A", "value": ""}]}, "is not the name of a variable"),
    ("spec.env[0].name", {"env": [{"name": "A-B", "value": ""}]}, "is not the name of a variable"),
    ("spec.env[0].name", {"env": [{"name": "A\nB", "value": ""}]}, "is not the name of a variable"),
    *(
        ("spec.env[0]", {"env": [{"name": name, "value": "x"}]}, LOADS)
        for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "NODE_OPTIONS")
    ),
    *(
        ("spec.env[0]", {"env": [{"name": name, "value": "x"}]}, "are set by the operator")
        for name in ("HOME", "PATH", "CLAUDE_CONFIG_DIR", "IS_SANDBOX", "STROMBOLI_X")
    ),
    ("spec.env[0].value", {"env": [{"name": "A", "value": "a\0"}]}, "has a NUL character in it"),
    ("spec.env", {"env": [{"name": "A"}, {"name": "A"}]}, "duplicate entries for key"),
    ("spec.env[0]", {"env": [{"name": "A", "value": "", "valueFrom": {"secretKeyRef": KEY}}]}, "value or valueFrom"),
    ("spec.env[0]", {"env": [{"name": "LD_X", "valueFrom": {"secretKeyRef": KEY}}]}, LOADS),
    (
        "spec.env[0].valueFrom",
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY, "configMapKeyRef": KEY}}]},
        "give exactly one of secretKeyRef and configMapKeyRef",
    ),
    ("spec.env[0].valueFrom", {"env": [{"name": "A", "valueFrom": {}}]}, "give exactly one of secretKeyRef and"),
    ("spec.env[0].valueFrom.secretKeyRef.key", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]},
     "Required value"),
    ("spec.envFrom[0]", {"envFrom": [{"prefix": "A_"}]}, "give exactly one of secretRef and configMapRef"),
    ("spec.envFrom[0].prefix", {"envFrom": [{"secretRef": {"name": "s"}, "prefix": "1"}]}, "cannot begin the name of"),
    ("spec.secretFiles", {"secretFiles": [{"name": "a", "secretKeyRef": KEY}] * 2}, "duplicate entries for key"),
    ("spec.secretFiles[0].name", {"secretFiles": [{"name": "..", "secretKeyRef": KEY}]}, "neither . nor .."),
    ("spec.secretFiles[0].name", {"secretFiles": [{"name": "a/b", "secretKeyRef": KEY}]}, "is not the name of a file"),
    ("spec.resources.memory", {"resources": {"memory": "512m"}}, "write 512Mi"),
    ("spec.resources.memory", {"resources": {"memory": "-1Gi"}}, "is not a memory size"),
    ("spec.resources.memory", {"resources": {"memory": "lots"}}, "such as 512Mi"),
    ("spec.resources.memory", {"resources": {"memory": 512}}, "write 512Mi for example"),
    ("spec.resources.memory", {"resources": {"memory": "300m"}}, "write 300Mi"),
    ("spec.resources.memory", {"resources": {"memory": "2GB"}}, "write 2Gi"),
    ("spec.resources.memory", {"resources": {"memory": "1.5 gib"}}, "write 1.5Gi"),
    ("spec.resources.cpus", {"resources": {"cpus": -1}}, "should be greater than 0"),
    ("spec.resources.cpus", {"resources": {"cpus": {"limit": 1}}}, "must have at most 0"),
    ("spec.resources.pids", {"resources": {"pids": 1}}, "should be greater than or equal to 16"),
    ("spec.timeout", {"timeout": "-5m"}, "such as 90s, 10m or 1h30m"),
    ("spec.timeout", {"timeout": "0s"}, "such as 90s, 10m or 1h30m"),
    ("spec.timeout", {"timeout": "ten minutes"}, "such as 90s, 10m or 1h30m"),
    ("spec.timeout", {"timeout": "10"}, "needs a unit: write 10s for seconds or 10m for minutes"),
    ("spec.timeout", {"timeout": 600}, "needs a unit: write 600s for seconds or 600m for minutes"),
    ("spec.timeout", {"timeout": "2d"}, "the longest unit is h: write 24h for each day"),
    ("spec.timeout", {"timeout": "1 week"}, "168h for a week"),
    (
        "spec.lifecycle",
        {"lifecycle": {"postCreate": ["a"], "postCreateCommand": ["a"]}},
        "postCreateCommand is another name of postCreate; give one of the two",
    ),
    ("spec.timeout", {"timeout": "169h"}, "is longer than a week"),
    ("spec.claude.maxTurns", {"claude": {"maxTurns": 0}}, "greater than or equal to 1"),
    ("spec.claude.maxBudgetUSD", {"claude": {"maxBudgetUSD": 0}}, "should be greater than 0"),
    ("spec.claude.permissionMode", {"claude": {"permissionMode": "yolo"}}, "supported values"),
    ("spec.claude.effort", {"claude": {"effort": "much"}}, "supported values"),
    ("spec.claude.addDirs[0]", {"claude": {"addDirs": ["tmp"]}}, "is relative; write an absolute path"),
    ("spec.claude.allowedTools[0]", {"claude": {"allowedTools": ["Bash\n"]}}, "should match"),
    ("spec.claude.outputFormat", {"claude": {"outputFormat": "json"}}, "field not declared in schema"),
    ("spec.Prompt", {"Prompt": "hello"}, "field not declared in schema"),
]  # fmt: skip


def test_each_mistake_that_a_schema_can_see_is_refused_at_apply(space: Runs) -> None:
    wrong = []
    for number, (field, change, words) in enumerate(REFUSED):
        spec = {k: v for k, v in {**HELLO, **change}.items() if v is not None}
        said = space.refused(f"refused-{number}", **spec)
        if field not in said or words not in said:
            wrong.append(f"{str(change)[:80]}: {said[:500]}")
    assert not wrong, "\n".join(wrong)
    assert space.kubectl("-n", space.namespace, "get", "agentruns", "-o", "name") == ""


def test_nothing_of_a_spec_can_be_changed(space: Runs) -> None:
    body = space.body("immutable", **HELLO, timeout="1h", resources={"cpus": 1.5})
    space.kubectl("apply", "--server-side", "--dry-run=none", "-f", "-", stdin=json.dumps(body))
    changes: list[dict[str, Any]] = [
        {"prompt": "another"},
        {"image": None},
        {"timeout": "2h"},
        {"resources": {"cpus": 2}},
        {"env": [{"name": "A", "value": "b"}]},
        {"claude": {"maxTurns": 3}},
        {"workdir": "/elsewhere"},
    ]
    for change in changes:
        patch = json.dumps({"spec": change})
        done = space.kubectl.attempt(
            "-n", space.namespace, "patch", "agentrun", "immutable", "--type=merge", "-p", patch
        )
        assert done.returncode != 0, change
        assert next(iter(change)) in done.stderr
        assert "cannot be changed" in done.stderr
    space.delete("immutable")


def test_a_mistake_that_no_schema_can_see_is_a_condition(space: Runs) -> None:
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "oci": ({"image": "oci:python"}, "spec.image: "),
        "storage": ({"image": "containers-storage:python"}, "spec.image: "),
        "hex": ({"image": "a" * 64}, "spec.image: "),
        "cpus": (
            {"resources": {"cpus": "two"}},
            "spec.resources.cpus: 'two' is not a number of cpus; write 2, 0.5 or 500m for example",
        ),
        "blank": ({"prompt": " \n\t"}, "spec.prompt: is empty; write what the agent should do"),
        "no-image": ({"image": None}, "spec.image: names no image, and no policy has a default"),
    }
    specs = {
        name: {k: v for k, v in {**HELLO, **change}.items() if v is not None} for name, (change, _) in cases.items()
    }
    for name, run in space.run_all(specs).items():
        assert condition(run)["reason"] == "InvalidSpec", name
        assert condition(run)["message"].startswith(cases[name][1]), condition(run)["message"]
        assert condition(run, "Stalled")["status"] == "True"
        assert "attempts" not in run["status"]


def test_a_document_that_is_deeper_than_any_code_can_walk(space: Runs, python_image: str) -> None:
    """The API server stores such a run: it is refused, and the operator survives and serves other runs."""

    def written(name: str, schema: str) -> str:
        body = json.dumps(space.body(name, **HELLO, claude={"jsonSchema": "here"}))
        return body.replace('"here"', schema)

    nested = '{"not":' * 4_000 + "{}" + "}" * 4_000
    for name, schema in {"deep": nested, "deep-text": json.dumps(nested)}.items():
        space.kubectl("create", "-f", "-", stdin=written(name, schema))
    for name in ("deep", "deep-text"):
        space.kubectl("-n", space.namespace, "wait", "--for=condition=Stalled", f"agentrun/{name}", "--timeout=60s")
        said = space.kubectl(
            *("-n", space.namespace, "get", "agentrun", name),
            *("-o", 'jsonpath={.status.conditions[?(@.type=="Stalled")].message}'),
        )
        assert said.startswith("spec.claude.jsonSchema: is nested too deeply: at most 64 levels; ")
        space.kubectl("-n", space.namespace, "delete", "agentrun", name)
    space.apply("beside", prompt="hello", image=python_image)
    assert condition(space.ends(["beside"])["beside"])["reason"] == "Completed"


PROMPTS = {
    "mebibyte": ("a line of plain text that is neither short nor long, by the way\n" * (MIB // 64)),
    "multi-byte": "żółw 🐢 é — 漢字 \u2028 \u202e " * 12_000,
    "white-space": "  leading, \t tabs,\r\nlines, and at the end two line feeds\n\n",
    "looks-like-a-flag": "--version",
    "looks-like-a-command": "$(touch /tmp/x) `id` ${HOME} 'quotes\" \\n %s",
    "one-letter": "x",
}


@pytest.fixture(scope="module")
def prompted(space: Runs, python_image: str) -> dict[str, Object]:
    for name, prompt in PROMPTS.items():
        space.apply(name, prompt=prompt, image=python_image)
    return space.ends(PROMPTS, within=240)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_prompt_arrives_byte_for_byte(prompted: dict[str, Object], standin: Standin, name: str) -> None:
    assert condition(prompted[name])["reason"] == "Completed", condition(prompted[name])["message"]
    received = [r["last_user_text"] for r in standin.requests()]
    assert received.count(PROMPTS[name]) == 1


def test_a_prompt_of_more_than_etcd_takes_is_refused_with_a_sentence(space: Runs) -> None:
    said = space.refused("huge", prompt="\N{TURTLE}" * 400_000, image="python:3.12")
    assert "request is too large" in said
