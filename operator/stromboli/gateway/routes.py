"""What may be asked of the gateway, and whose node answers it. Pure.

Only known paths with known parameters are passed on, and what is passed on is built anew from them: an operator gets
nothing of a request that is not in the table of operations.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from stromboli.api.errors import Declined
from stromboli.gateway.operations import OPERATIONS, Operation, Place
from stromboli.naming import AGENTS_API, is_namespace, is_object_name

# kubectl adds them for the API server itself.
_FOR_THE_API_SERVER = frozenset({"timeout", "pretty"})
_LONGEST = 8192  # characters of a parameter


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of request: the parts of its path below the version, `*` for a name, and its parameters."""

    path: tuple[str, ...]
    place: Place
    parameters: frozenset[str]

    @property
    def resource(self) -> str:
        return "/".join(part for part in self.path if part not in ("namespaces", "*"))


def _form(operation: Operation) -> _Form:
    path = tuple("*" if part.startswith("{") else part for part in operation.path.split("/"))
    return _Form(path, operation.place, frozenset(name for name, *_ in operation.parameters))


_FORMS = tuple(map(_form, OPERATIONS))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be passed on. `namespace` and `name` are of the object that `place` is about, if any;
    `resource` is what is asked for, without any names.
    """

    place: Place
    resource: str
    namespace: str
    name: str
    parts: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]

    @property
    def onward(self) -> str:
        """Path and query for the operator."""
        path = "/".join((AGENTS_API, *(quote(part, safe="") for part in self.parts)))
        query = [(name, value) for name, value in self.parameters if name != "node"]
        return f"{path}?{urlencode(query, quote_via=quote)}" if query else path

    def parameter(self, name: str) -> str:
        """A parameter's value; empty without one."""
        return next((value for known, value in self.parameters if known == name), "")

    @property
    def follows(self) -> bool:
        """Whether the answer may last for as long as a run."""
        return self.place is Place.RUN and self.parameter("follow") in ("true", "1")


def asked(path: str, query: Iterable[tuple[str, str]]) -> Asked | None:
    """The request for that path below the version (decoded), None if it is not served. Raises Declined (400, 404)."""
    parts = tuple(path.split("/"))
    form = next((form for form in _FORMS if _fits(form.path, parts)), None)
    if form is None:
        return None
    names = [part for part, wanted in zip(parts, form.path, strict=True) if wanted == "*"]
    if not all(map(is_object_name, names)) or (names and not is_namespace(names[0])):
        raise Declined(404, "the path contains a name that is not a valid Kubernetes name")
    namespace, name = [*names, "", ""][:2]
    return Asked(form.place, form.resource, namespace, name, parts, tuple(_parameters(form, query)))


def _fits(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    return len(wanted) == len(parts) and all(w in ("*", part) for w, part in zip(wanted, parts, strict=True))


def _parameters(form: _Form, query: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in query:
        if name in _FOR_THE_API_SERVER:
            continue
        if name not in form.parameters:
            known = f"the parameters are {', '.join(sorted(form.parameters))}" if form.parameters else "there are none"
            raise Declined(400, f"there is no parameter {name[:100]!r} here; {known}")
        if name in seen:
            raise Declined(400, f"the parameter `{name}` is given twice; give it once")
        if len(value) > _LONGEST:
            raise Declined(400, f"the parameter `{name}` is longer than {_LONGEST} characters")
        seen.add(name)
        yield name, value
