"""compose/document/extends.py: what comes along, cycles, bounds; every message names the service that is wanted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from stromboli.compose.document.extends import LONGEST_CHAIN, MOST_FILES
from stromboli.compose.document.load import Source, load
from stromboli.errors import ComposeProblem
from tests.support.compose_documents import Folder, loaded, plain

BASE = """
    x-note: $$ignored
    services:
      base:
        image: postgres:${PG:-16}
        environment: {A: base, B: base}
        volumes: ["./data:/data", "named:/n"]
        env_file: base.env
        build: {context: ./ctx, dockerfile: D}
        depends_on: [other]
        profiles: [p]
        ports: ["5432:5432"]
      second: {extends: base, user: second}
      other: {image: x}
"""


def service(text: str, name: str = "app", **more: Any) -> Any:
    return plain(loaded(text, **more).root.at(("services", name)))


def test_of_the_same_file() -> None:
    found = service(
        """
        services:
          app: {extends: {service: base}, environment: [B=app], command: x}
          base: {image: i, environment: {A: 1, B: 2}, command: y z, depends_on: [db], x-foo: 1}
        """
    )
    assert found == {
        "image": "i",
        "environment": {"A": 1, "B": "app"},
        "command": ["x"],
        "depends_on": {"db": {"condition": "service_started", "required": True}},
    }


def test_everything_of_another_file_comes_along_and_its_paths_count_from_there() -> None:
    document = loaded(
        """
        services:
          app:
            extends: {file: ./sub/base.yaml, service: base}
            environment: {B: app}
            volumes: ["./own:/data"]
        """,
        files={"sub/base.yaml": BASE},
        variables={"PG": "17"},
    )
    assert plain(document.root.at(("services", "app"))) == {
        "image": "postgres:17",
        "environment": {"A": "base", "B": "app"},
        "volumes": [
            {"type": "bind", "source": "/project/own", "target": "/data"},
            {"type": "volume", "source": "named", "target": "/n"},
        ],
        "env_file": [{"path": "/project/sub/base.env"}],
        "build": {"context": "/project/sub/ctx", "dockerfile": "/project/sub/ctx/D"},
        "depends_on": {"other": {"condition": "service_started", "required": True}},
        "profiles": ["p"],
        "ports": [{"target": 5432, "published": "5432", "protocol": "tcp"}],
    }
    image = document.root.at(("services", "app", "image"))
    assert image is not None
    assert str(image.mark) == "sub/base.yaml:5"


def test_only_the_services_come_along() -> None:
    document = loaded(
        "services: {app: {extends: {file: b.yaml, service: b}}}",
        files={"b.yaml": "include: [x]\nvolumes: {v: }\nservices: {b: {image: x}, c: {volumes: ['bad:']}, d: 5}"},
    )
    assert plain(document.root) == {"services": {"app": {"image": "x"}}}


def test_chains() -> None:
    files = {
        "one/a.yaml": "services: {a: {extends: {file: ../two/b.yaml, service: b}, volumes: ['./a:/a']}}",
        "two/b.yaml": "services: {b: {extends: c, volumes: ['./b:/b']}, c: {image: c, volumes: ['./c:/c']}}",
    }
    found = service(
        """
        services:
          app: {extends: mid, volumes: ["./app:/app"]}
          mid: {extends: {file: one/a.yaml, service: a}, user: mid}
        """,
        files=files,
    )
    assert found == {
        "image": "c",
        "user": "mid",
        "volumes": [
            {"type": "bind", "source": f"/project/{source}", "target": f"/{source.rpartition('/')[2]}"}
            for source in ("two/c", "two/b", "one/a", "app")
        ],
    }


def test_a_file_is_read_once_and_its_warnings_are_kept() -> None:
    text = b"services: {a: {extends: {file: b.yaml, service: b}}, c: {extends: {file: ./x/../b.yaml, service: d}}}"
    folder = Folder({"b.yaml": "services: {b: {image: $NOPE}, d: {image: x}}", ".env": "NOPE=from-dotenv"})
    document = load([Source("compose.yaml", "/project", text)], {}, folder)
    assert folder.was_read == ["/project/b.yaml"]
    assert plain(document.root.at(("services", "a", "image"))) == ""
    assert len(document.warnings) == 1
    assert "NOPE" in document.warnings[0]


def test_null_extends_nothing() -> None:
    assert service("services: {app: {image: x, extends: }}") == {"image": "x"}
    assert service("services: {app: {image: x, extends: b}, b: }") == {"image": "x"}


def test_each_file_of_the_stack_is_extended_by_itself() -> None:
    base = "services: {app: {image: a}, base: {user: base}}"
    assert service(base, files={})["image"] == "a"
    found = plain(loaded(base, "services: {app: {extends: other}, other: {user: other, image: o}}").root)
    assert found["services"]["app"] == {"image": "o", "user": "other"}
    with pytest.raises(ComposeProblem, match='"base" in overlay1') as refused:
        loaded(base, "services: {app: {extends: base}}")
    assert refused.value.key == "services.app.extends.service"


CYCLES = {
    "services: {app: {extends: app}}": ("services.app.extends", "app → app"),
    "services: {app: {extends: b}, b: {extends: app}}": ("services.app.extends", "app → b → app"),
    "services: {app: {extends: b}, b: {extends: c}, c: {extends: b}}": ("services.app.extends", "app → b → c → b"),
    "services: {app: {extends: {file: ping.yaml, service: a}}}": (
        "services.app.extends.file",
        "app → a of ping.yaml → b of pong.yaml → a of ping.yaml",
    ),
    "services: {app: {extends: {file: self.yaml, service: a}}}": (
        "services.app.extends",
        "app → a of self.yaml → a of self.yaml",
    ),
    "services: {app: {extends: {file: compose.yaml, service: app}}}": (
        "services.app.extends.file",
        "app → app of compose.yaml → app of compose.yaml",
    ),
}
RING = {
    "ping.yaml": "services: {a: {extends: {file: pong.yaml, service: b}}}",
    "pong.yaml": "services: {b: {extends: {file: ping.yaml, service: a}}}",
    "self.yaml": "services: {a: {extends: a}}",
    "compose.yaml": "services: {app: {extends: {file: compose.yaml, service: app}}}",
}


@pytest.mark.parametrize(("text", "expected"), CYCLES.items())
def test_cycles(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded(text, files=RING)
    assert refused.value.key == expected[0]
    assert refused.value.what == f"is a cycle: {expected[1]}"


BAD = {
    "extends: nope": ("services.app.extends.service", 'a service that is not there: "nope" in compose.yaml'),
    "extends: {service: nope, file: b.yaml}": ("services.app.extends.service", '"nope" in b.yaml'),
    "extends: {file: b.yaml}": ("services.app.extends.service", "must be the name of the service"),
    "extends: {service: 5}": ("services.app.extends.service", "must be the name of the service"),
    "extends: {service: b, file: 5}": ("services.app.extends.file", "must be the path of a file"),
    "extends: {service: b, path: x}": ("services.app.extends.path", "is unknown"),
    "extends: [a]": ("services.app.extends", "must be a service's name, or a mapping with service and file"),
    "extends: {service: b, file: ../x.yaml}": ("services.app.extends.file", "the file /x.yaml is not there"),
    "extends: {service: b, file: ~/x.yaml}": ("services.app.extends.file", "begins with ~"),
    "extends: {service: b, file: ''}": ("services.app.extends.file", "is empty"),
    "extends: {service: b, file: list.yaml}": ("services.app.extends.file", "the file list.yaml cannot be used"),
    "extends: {service: b, file: broken.yaml}": (
        "services.app.extends.file",
        "broken.yaml:2: line 2 is not valid YAML",
    ),
    "extends: {service: b, file: needs.yaml}": ("services.app.extends.file", "needs.yaml:1: services.c.image"),
    "extends: {service: b, file: none.yaml}": ("services.app.extends.file", "the file none.yaml has no services"),
    "extends: {service: b, file: no-map.yaml}": ("services.app.extends.file", "no-map.yaml has no services"),
    "extends: {service: b, file: large.yaml}": ("services.app.extends.file", "large.yaml is too long"),
    "extends: {service: scalar, file: b.yaml}": ("services.app", "must be a mapping with keys such as image"),
    "extends: {service: short, file: b.yaml}": ("services.app.volumes[1]", "has an empty part"),
    "extends: {service: chain, file: b.yaml}": (
        "services.app.extends.file",
        "the file /outside.yaml is not there (on the way from app → chain of b.yaml)",
    ),
    "extends: {service: lost, file: b.yaml}": (
        "services.app.extends.service",
        '"gone" in b.yaml (on the way from app → lost of b.yaml)',
    ),
}
FILES = {
    "b.yaml": """
        services:
          b: {image: x}
          scalar: 5
          short: {volumes: [/a, ":/w"]}
          chain: {extends: {file: ../outside.yaml, service: z}}
          lost: {extends: gone}
    """,
    "list.yaml": "- a",
    "broken.yaml": "services: {",
    "needs.yaml": "services: {b: {image: x}, c: {image: '${NOPE:?}'}}",
    "none.yaml": "volumes: {}",
    "no-map.yaml": "services: [b]",
    "large.yaml": "#" * 1_100_000,
}


@pytest.mark.parametrize(("text", "expected"), BAD.items())
def test_bad(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded(f"services: {{app: {{{text}}}}}", files=FILES)
    assert refused.value.key == expected[0]
    assert expected[1] in refused.value.what
    assert refused.value.where


def test_long_chains_end() -> None:
    def chain(length: int) -> str:
        return "services:\n" + "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(length)) + f"  s{length}: {{}}"

    loaded(chain(LONGEST_CHAIN - 1))
    with pytest.raises(ComposeProblem, match=f"a chain of more than {LONGEST_CHAIN} services"):
        loaded(chain(LONGEST_CHAIN + 1))


def test_the_number_of_files_is_bounded() -> None:
    names = [f"f{n}.yaml" for n in range(MOST_FILES + 1)]
    files = dict.fromkeys(names, "services: {b: {image: x}}")

    def extending(count: int) -> str:
        return "services:\n" + "".join(f"  s{n}: {{extends: {{file: {names[n]}, service: b}}}}\n" for n in range(count))

    loaded(extending(MOST_FILES), files=files)
    with pytest.raises(ComposeProblem, match="is one file too many") as refused:
        loaded(extending(MOST_FILES + 1), files=files)
    assert refused.value.key == f"services.s{MOST_FILES}.extends.file"


def test_what_is_multiplied_is_bounded() -> None:
    large = "services: {base: {environment: {" + ", ".join(f"A{n}: x" for n in range(20_000)) + "}}}"
    many = "services:\n" + "".join(f"  s{n}: {{extends: {{file: b.yaml, service: base}}}}\n" for n in range(400))
    began = time.perf_counter()
    with pytest.raises(ComposeProblem, match="the files have more than 200000 values, once they are expanded"):
        loaded(many, files={"b.yaml": large})
    assert time.perf_counter() - began < 5
