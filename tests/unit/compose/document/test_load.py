"""compose/document/load.py: files of a project become one document; extensions go; bounds hold."""

from __future__ import annotations

import time

import pytest

from stromboli.compose.document.budget import MOST_BYTES
from stromboli.compose.document.events import MAX_SIZE
from stromboli.compose.document.load import MOST_SERVICES, Source, load
from stromboli.compose.files import NoFiles
from stromboli.errors import ComposeProblem
from tests.support.compose_documents import loaded, plain


def test_one_file() -> None:
    document = loaded(
        """
        name: shop
        services:
          db: {image: "postgres:${PG:-16}", ports: [5432]}
        """,
        variables={"A": "b"},
    )
    assert plain(document.root) == {
        "name": "shop",
        "services": {"db": {"image": "postgres:16", "ports": [{"target": 5432, "protocol": "tcp"}]}},
    }
    assert document.directory == "/project"
    assert document.variables == {"A": "b"}
    assert document.warnings == ()


def test_overlays_have_the_last_word_and_count_from_the_first_files_folder() -> None:
    document = loaded(
        "services: {db: {image: a, volumes: ['./a:/a'], build: ./ctx}}",
        "services: {db: {volumes: ['./b:/a', './c:/c'], build: {dockerfile: D}}, app: {image: b}}",
        "volumes: {v: }",
        "services:",
    )
    assert plain(document.root) == {
        "services": {
            "db": {
                "image": "a",
                "volumes": [
                    {"type": "bind", "source": "/project/b", "target": "/a"},
                    {"type": "bind", "source": "/project/c", "target": "/c"},
                ],
                "build": {"context": "/project/ctx", "dockerfile": "/project/ctx/D"},
            },
            "app": {"image": "b"},
        },
        "volumes": {"v": None},
    }


def test_extensions_go_where_keys_are_not_names() -> None:
    document = loaded(
        """
        x-a: &a {image: x, x-inner: 1}
        services:
          x-template: {<<: *a, x-b: 1}
          app:
            x-c: {d: e}
            healthcheck: {test: a, x-d: 1}
            environment: {x-e: 1}
            labels: {x-f: 1}
            depends_on: {x-template: {condition: service_started, x-g: 1}}
            networks: {x-net: {x-h: 1}}
            volumes: [{type: volume, source: x-vol, target: /v, x-i: 1}]
            deploy: {x-j: 1, resources: {x-k: 1, limits: {x-l: 1, cpus: 1}}}
            logging: {x-m: 1, options: {x-n: 1}}
        volumes: {x-vol: {x-o: 1, driver_opts: {x-p: 1}}}
        networks: {x-net: {x-q: 1, ipam: {x-r: 1}}}
        secrets: {x-s: {file: /s, x-t: 1}}
        """
    )
    assert plain(document.root) == {
        "services": {
            "x-template": {"image": "x"},
            "app": {
                "healthcheck": {"test": ["CMD-SHELL", "a"]},
                "environment": {"x-e": 1},
                "labels": {"x-f": 1},
                "depends_on": {"x-template": {"condition": "service_started"}},
                "networks": {"x-net": {}},
                "volumes": [{"type": "volume", "source": "x-vol", "target": "/v"}],
                "deploy": {"resources": {"limits": {"cpus": 1}}},
                "logging": {"options": {"x-n": 1}},
            },
        },
        "volumes": {"x-vol": {"driver_opts": {"x-p": 1}}},
        "networks": {"x-net": {"ipam": {}}},
        "secrets": {"x-s": {"file": "/s"}},
    }


def test_extensions_are_interpolated_all_the_same() -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded("x-unused: '${NOPE:?}'\nservices: {a: {image: x}}")
    assert refused.value.key == "x-unused"
    document = loaded(
        "x-unused: $NOPE\nservices: {a: {image: $NOPE}}", "services: {a: {user: $NOPE, labels: [a=$OTHER]}}"
    )
    assert len(document.warnings) == 2


BAD = {
    "services: {}": ("services", "is missing: a compose file has services"),
    "services:": ("services", "is missing"),
    "version: '3'": ("services", "is missing"),
    "x-services: {a: {}}": ("services", "is missing"),
    "services: [a]": ("services", "must be a mapping of services"),
    "services: {a: b}": ("services.a", "must be a mapping with keys such as image"),
    "services: {a: {image: x}}\ninclude: [b.yaml, c.yaml]": ("include[0]", "is not supported"),
    "services: {a: {image: x}}\ninclude: b.yaml": ("include", "is not supported"),
    "services: {a: {image: x}}\ninclude:": ("include", "is not supported"),
}


@pytest.mark.parametrize(("text", "expected"), BAD.items())
def test_bad(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded(text)
    assert refused.value.key == expected[0]
    assert expected[1] in refused.value.what
    assert refused.value.where.startswith("compose.yaml:")


def test_a_problem_of_an_overlay_names_that_file() -> None:
    with pytest.raises(ComposeProblem) as refused:
        loaded("services: {a: {ports: [80]}}", "\nservices: {a: {ports: ['x']}}")
    assert (refused.value.key, refused.value.where) == ("services.a.ports[0]", "overlay1.yaml:2")
    with pytest.raises(ComposeProblem) as refused:
        loaded("services: {a: {deploy: {resources: {}}}}", "services: {a: {deploy: {resources: []}}}")
    assert (refused.value.key, refused.value.where) == ("services.a.deploy.resources", "overlay1.yaml:1")


def test_a_null_service_stays_null_unless_a_file_says_more() -> None:
    assert plain(loaded("services: {a: }").root) == {"services": {"a": None}}
    assert plain(loaded("services: {a: }", "services: {a: {image: x}}").root) == {"services": {"a": {"image": "x"}}}
    assert plain(loaded("services: {a: {image: x}}", "services: {a: }").root) == {"services": {"a": {"image": "x"}}}


def test_the_number_of_services_is_bounded() -> None:
    def many(count: int, prefix: str = "s") -> str:
        return "services:\n" + "".join(f"  {prefix}{n}: {{image: x}}\n" for n in range(count))

    loaded(many(MOST_SERVICES))
    began = time.perf_counter()
    with pytest.raises(ComposeProblem, match="services: has 10000 services; at most 500"):
        loaded(many(10_000))
    with pytest.raises(ComposeProblem, match="services: has 600 services; at most 500"):
        loaded(many(300), many(300, "t"))
    assert time.perf_counter() - began < 5


def test_ranges_of_ports_are_bounded_all_together() -> None:
    text = "services:\n" + "".join(f"  s{n}: {{ports: ['1-2000', '2001-4000']}}\n" for n in range(MOST_SERVICES))
    began = time.perf_counter()
    with pytest.raises(ComposeProblem, match="the files have more than 200000 values"):
        loaded(text)
    assert time.perf_counter() - began < 5


def test_all_files_together_have_a_bound() -> None:
    def sized(name: str, size: int) -> Source:
        text = b"services: {app: {image: x}}\n"
        return Source(name, None, text + b"#" * (size - len(text)))

    full = [sized("one", MAX_SIZE), sized("two", MOST_BYTES - MAX_SIZE)]
    assert load(full, {}, NoFiles()).warnings == ()
    with pytest.raises(ComposeProblem, match="one too many") as caught:
        load([*full, sized("three", 100)], {}, NoFiles())
    assert caught.value.key == "file"


def test_a_document_has_a_file() -> None:
    with pytest.raises(ValueError, match="at least one file"):
        load([], {}, NoFiles())
