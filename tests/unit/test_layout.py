"""What holds for the whole tree of files, whatever is in them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LONGEST_MODULE = 400  # lines
MOST_PARTS = 6  # that a service is made of
# Where packages come from is every machine's own affair. (Images, releases and modules have their places in the code.)
REGISTRIES = re.compile(
    r"(pypi|pythonhosted|npmjs|yarnpkg|crates)\.(org|com|io)|(deb|security|archive)\.(debian|ubuntu)\.(org|com)"
    r"|(proxy|sum)\.golang\.|\.pkg\.dev\b|\bartifactory\b"
)
# How an object stands on the wire, and who may know it: the calls to the API server, the statuses, kopf's events, what
# goes through kubectl, and the generation of the CRDs.
ON_THE_WIRE = re.compile(r"""(\[|\.get\(|\.pop\(|\.setdefault\()["'](metadata|status|spec)["']""")
KNOW_THE_WIRE = ("kube/", "status/", "handlers/watches.py", "cli/", "local/", "controlplane/", "models/crd.py")
# A statement has a line of its own (ruff). To parse a thousand files takes 25 times as long.
IMPORT = re.compile(r"^[ \t]*(?:from +(\w[\w.]*) +import\b|import +([\w., ]+?)[ \t]*(?:#.*)?$)", re.MULTILINE)
# Development tools that are run and not imported.
TOOLS = {
    "schemathesis",
    "hatchling",
    "import-linter",
    "mypy",
    "pytest-asyncio",
    "pytest-xdist",
    "ruff",
    "types-jsonschema",
    "types-pyyaml",
}
OTHER_MACHINES = re.compile(r"/Users/\w+/|[A-Z]:\\Users\\|/\.pyenv/|/\.local/share/uv/")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert paths
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text(errors="replace") for path in tracked()}


def test_operator_is_no_package() -> None:
    """It is on the path, where it would be taken for the standard library's `operator`."""
    assert not (ROOT / "operator/__init__.py").exists()
    check = "import operator, stromboli; assert hasattr(operator, 'itemgetter')"
    subprocess.run([sys.executable, "-c", check], env={"PYTHONPATH": str(ROOT / "operator")}, cwd=ROOT, check=True)


def test_no_file_names_a_place_of_this_machine(texts: dict[str, str]) -> None:
    prefixes = {Path(p) for p in (ROOT, sys.prefix, sys.base_prefix)} - {Path("/usr"), Path("/usr/local")}
    here = [re.compile(re.escape(str(p)) + r"\b") for p in prefixes if len(p.parts) > 2]
    found = [(name, r.pattern) for name, text in texts.items() for r in (*here, OTHER_MACHINES) if r.search(text)]
    assert [pair for pair in found if pair[0] != "tests/unit/test_layout.py"] == []


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    found = {name: match[0] for name, text in texts.items() if (match := REGISTRIES.search(text))}
    assert found == {}


def test_every_locked_package_has_its_version_and_hashes_and_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    lines = [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    assert len(lines) > 20
    entry = re.compile(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==[^\s;]+( *;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line[:60] for line in lines if not entry.fullmatch(line)] == []
    assert "://" not in text


def test_what_is_imported_is_declared_with_a_lower_bound_and_nothing_else_is() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    product = _declared(declared["project"]["dependencies"])
    development = _declared(declared["dependency-groups"]["dev"])
    by_product, by_tests = _imported("operator"), _imported("tests")
    assert [names for names in by_product if not names & product] == []
    assert [names for names in by_tests if not names & (product | development)] == []
    assert product - set().union(*by_product) == set()
    assert development - set().union(*by_tests) == TOOLS


def _declared(requirements: Iterable[str]) -> set[str]:
    found = [re.fullmatch(r"([a-z0-9-]+)>=[0-9.]+", requirement) for requirement in requirements]
    assert all(found)
    return {match[1] for match in found if match}


def _imported(folder: str) -> list[set[str]]:
    """For each foreign package that is imported somewhere below the folder: the distributions that it may be from."""
    modules = {
        name.strip().partition(".")[0].partition(" ")[0]
        for path in (ROOT / folder).rglob("*.py")
        for match in IMPORT.finditer(path.read_text())
        for name in (match[1] or match[2]).split(",")
    }
    origins = packages_distributions()
    foreign = modules - sys.stdlib_module_names - {"stromboli", "tests"}
    return [{name.lower().replace("_", "-") for name in origins[module]} for module in sorted(foreign)]


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All statements, those in others too. Of a file's nodes, the most are expressions, which import nothing."""
    for node in body:
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            yield from _statements(getattr(node, block, ()))


def test_no_module_is_too_long_to_be_read_at_once(texts: dict[str, str]) -> None:
    modules = {n: t.count("\n") for n, t in texts.items() if n.startswith("operator/") and n.endswith((".py", ".sh"))}
    assert len(modules) > 50
    assert {name: lines for name, lines in modules.items() if lines > LONGEST_MODULE} == {}


def test_no_service_is_made_of_too_many_parts() -> None:
    """Values may have many fields; what works with others, or holds the parts of the operator, may not."""
    made_of: dict[str, int] = {}
    for path in sorted((ROOT / "operator/stromboli").rglob("*.py")):
        for node in _statements(ast.parse(path.read_text()).body):
            if isinstance(node, ast.ClassDef):
                made_of[f"{path.stem}.{node.name}"] = _parts(node, always=path.parent.name == "handlers")
    assert made_of["assembly.Parts"] > 3, "dataclasses count"
    assert made_of["reconcile.Reconciler"] > 3
    assert {name: parts for name, parts in made_of.items() if parts > MOST_PARTS} == {}


def _parts(service: ast.ClassDef, *, always: bool) -> int:
    """How many arguments it takes: those of its constructor, or the fields of a dataclass that waits for something."""
    methods = [n for n in service.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    for method in methods:
        if method.name == "__init__":
            return len([*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]) - 1
    if not always and not any(isinstance(method, ast.AsyncFunctionDef) for method in methods):
        return 0
    return sum(isinstance(statement, ast.AnnAssign) for statement in service.body)


def test_objects_of_the_cluster_are_typed_outside_of_the_rooms_that_know_the_wire(texts: dict[str, str]) -> None:
    package = "operator/stromboli/"
    modules = {n.removeprefix(package): t for n, t in texts.items() if n.startswith(package) and n.endswith(".py")}
    assert len(modules) > 50
    found = {
        name: [line.strip() for line in text.splitlines() if ON_THE_WIRE.search(line)]
        for name, text in modules.items()
        if not name.startswith(KNOW_THE_WIRE) and ON_THE_WIRE.search(text)
    }
    # A condition's own `status`, and an image's pull as Podman reports it.
    assert found == {
        "models/objects.py": ['return condition(status, type_).get("status") == as_'],
        "models/run.py": ['return self._succeeded.get("status") in ("True", "False")'],
        "podman/pulls.py": ['elif entry.get("status") in ("Download complete", "Already exists"):'],
    }


def test_every_file_has_something_in_it(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if not text.strip()] == []
