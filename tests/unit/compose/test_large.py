"""Files that are large, deep, or small and grow: whole ones, all the way, within seconds and with a short message."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from stromboli.compose.selection import select
from stromboli.errors import ComposeProblem
from stromboli.plan.compose_rules import Bound, ComposeRules
from stromboli.plan.limits import Limits
from stromboli.plan.stack import rules
from tests.support import composed

SECONDS = 4.0  # of the processor; most take a tenth of one
LONG = 60_000


def of(keys: str) -> str:
    return f"services:\n  app:\n    image: debian:12\n    {keys}\n"


def listed(key: str, entry: str, times: int) -> str:
    return of(f"{key}: [{', '.join(entry.format(n=n) for n in range(times))}]")


def several(count: int, keys: str) -> str:
    """Services s0, s1, …; `{n}` in their keys is the number, `{next}` the one after it."""
    made = "".join(f"  s{n}: {{image: x, {keys.format(n=n, next=(n + 1) % count)}}}\n" for n in range(count))
    return f"services:\n  app: {{image: x}}\n{made}"


def doubled(first: str, each: Callable[[str], str], times: int = 40) -> str:
    """Anchors a0, a1, …, each of which stands for twice what the one before it does."""
    lines = [f"x-a0: &a0 {first}"]
    lines += [f"x-a{n}: &a{n} {each(f'a{n - 1}')}" for n in range(1, times)]
    return "\n".join(lines) + "\n"


REFUSED = {
    "aliases of lists": (doubled("[x, y]", lambda a: f"[*{a}, *{a}]") + of("init: true"), "file"),
    "aliases of mappings": (doubled("{k: v}", lambda a: f"{{k: *{a}, l: *{a}}}") + of("init: true"), "file"),
    "aliases of long texts": ("x-a: &a " + "x" * 500_000 + "\nx-b: [" + "*a, " * 99 + "*a]\n" + of("a: b"), "file"),
    "merges of large mappings": (
        f"x-a: &a {{{', '.join(f'k{n}: v' for n in range(900))}}}\n"
        + several(400, "environment: {{<<: *a, OWN: '{n}'}}"),
        "file",
    ),
    "services": (several(10_000, "init: true"), "services"),
    "services that are long": (several(501, "command: [a, b, c]"), "services"),
    "brackets": (of("command: " + "[" * 300_000), "file"),
    "brackets that are closed": (of("command: " + "[" * 2_000 + "]" * 2_000), "file"),
    "braces": (of("labels: " + "{a: " * 30_000), "file"),
    "dashes": (of("command:\n      " + "- " * 50_000), "file"),
    "indentation": ("".join(f"{' ' * n}k:\n" for n in range(1_000)), "file"),
    "question marks": (of("labels:\n      " + "? " * 50_000), "services.app.labels"),
    "bytes": (of("init: true") + "#" * (1024 * 1024), "file"),
    "a text": (of(f"environment: {{A: {'x' * 900_000}}}"), "services.app.environment.A"),
    "a key": (of(f"environment: {{? {'x' * 900_000} : a}}"), "services.app.environment"),
    "a number": (of(f"scale: {'1' * LONG}"), "services.app.scale"),
    "a number with underscores": (of(f"scale: {'1_' * LONG}1"), "services.app.scale"),
    "a cycle of dependencies": (several(400, "depends_on: [s{next}]"), "services.s0.depends_on[0]"),
    "a cycle of links": (several(400, "links: [s{next}]"), "services.s0.links[0]"),
    "a cycle of namespaces": (several(400, 'network_mode: "service:s{next}"'), "services.s0.network_mode"),
    "a cycle of extends": (several(20, "extends: s{next}"), "services.s0.extends"),
    "a chain of extends": (
        several(400, "extends: s{next}").replace("extends: s0}", "init: true}"),
        "services.s31.extends",
    ),
    "ranges of ports": (listed("ports", '"{n}000-{n}999:{n}000-{n}999"', 6), "services.app.ports"),
    "a range of ports": (of('ports: ["1-65535"]'), "services.app.ports[0]"),
    "ranges of exposed ports": (of('expose: ["1-65535"]'), "services.app.expose[0]"),
    "ports that are inherited": (
        several(400, "extends: base") + "  base: {image: x, ports: ['1000-2999', '3000-4999']}\n",
        "services",
    ),
    "mounts": (listed("volumes", "/m{n}", 6_000), "services.app.volumes"),
    "variables": (listed("environment", "K{n}=v", 6_000), "services.app.environment"),
    "values": (of(f"x-a: [{'a, ' * 120_000}a]"), "file"),
    "a default in a default": (of(f"hostname: '{'${A:-' * 9_000}{'}' * 9_000}!'"), "services.app.hostname"),
    "braces that stay open": (of(f"hostname: '{'${A:-' * 9_000}'"), "services.app.hostname"),
    "a variable many times": (of("environment: {A: '" + "$BIG" * 2_000 + "'}"), "services.app.environment.A"),
    "a variable in many values": (listed("command", "'$BIG'", 500), "services.app.command"),
    "an image": (of(f"image: {'a/' * 30_000}b").replace("image: debian:12\n    ", ""), "services.app.image"),
    "a host name": (of(f"hostname: {'a.' * 30_000}b"), "services.app.hostname"),
    "a duration": (of(f"stop_grace_period: {'1h' * 30_000}"), "services.app.stop_grace_period"),
    "a duration of one number": (of(f"stop_grace_period: {'9' * LONG}s"), "services.app.stop_grace_period"),
    "a size": (of(f"mem_limit: {'9' * LONG}g"), "services.app.mem_limit"),
    "a port": (of(f"ports: ['{'9' * LONG}']"), "services.app.ports[0]"),
    "colons of a port": (of(f"ports: ['{'1:' * 30_000}1']"), "services.app.ports[0]"),
    "colons of a volume": (of(f"volumes: ['{'a:' * 30_000}/x']"), "services.app.volumes[0]"),
    "options of a volume": (of(f"volumes: ['a:/x:{'ro,' * 20_000}oops']"), "services.app.volumes[0]"),
    "a path": (of(f"volumes: ['./{'a/' * 30_000}:/x']"), "services.app.volumes[0]"),
    "a path in the container": (of(f"volumes: ['./a:/{'a/' * 30_000}']"), "services.app.volumes[0]"),
    "dots of a path": (of(f"volumes: ['./{'../' * 20_000}etc:/x']"), "services.app.volumes[0]"),
    "addresses": (of(f"extra_hosts: ['a={'1.2.3.4,' * 7_000}1.2.3.4']"), "services.app.extra_hosts[0]"),
    "a user": (of(f"user: {'a' * LONG}"), "services.app.user"),
    "a profile": (of(f"profiles: ['{'a b' * 20_000}']"), "service"),
    "a signal": (of(f"stop_signal: {'SIG' * 20_000}"), "services.app.stop_signal"),
    "a name": (f"services: {{? {'n' * LONG} : {{image: x}}}}", "services"),
    "unknown keys": (of(f"? {'k' * LONG}\n    : a"), "services.app"),
    "quotes": (of("command: '" + '"a" ' * 14_000 + '"' + "'"), "services.app.command"),
    "directives": ("%TAG ! a\n" * 20_000 + of("a: b"), "file"),
}
ACCEPTED = {
    "a chain of dependencies": several(400, "depends_on: [s{next}]").replace("depends_on: [s0]", "init: true"),
    "everybody needs the first": several(300, "depends_on: [app]"),
    "many words": of("command: " + "a " * 4_000),
    "many arguments": listed("command", "a{n}", 4_000),
    "many variables": listed("environment", "K{n}=v", 4_000),
    "many labels": of(f"labels: {{{', '.join(f'k{n}: v' for n in range(4_000))}}}"),
    "many networks": of("networks: [" + ", ".join(f"n{n}" for n in range(10)) + "]")
    + "networks:\n"
    + "".join(f"  n{n}: \n" for n in range(500)),
    "many defaults": of("hostname: h\n    environment: {A: '" + "${A:-b}" * 5_000 + "'}"),
    "dollars": of("environment: {A: '" + "$$" * 20_000 + "'}"),
    "comments": of("init: true") + "# x\n" * 200_000,
    "anchors": "x-a: [" + ", ".join(f"&a{n} {n}" for n in range(20_000)) + "]\n" + of("init: true"),
    "blank lines": "\n" * 500_000 + of("init: true"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    text, key = REFUSED[name]
    began = time.process_time()
    with pytest.raises(ComposeProblem) as caught:
        judged(text)
    assert time.process_time() - began < SECONDS
    assert (caught.value.key or "file").startswith(key), str(caught.value)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_is_accepted(name: str) -> None:
    began = time.process_time()
    judged(ACCEPTED[name])
    assert time.process_time() - began < SECONDS


def judged(text: str) -> None:
    stack = composed.stack(text, {"BIG": "x" * 10_000})
    most = Bound("compose.maxServices", 1_000, "1000")
    rules.judge(stack, select(stack, (), "app"), ComposeRules(max_services=most), Limits())
