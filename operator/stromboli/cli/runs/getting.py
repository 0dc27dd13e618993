"""`stromboli get`: runs as a table, whose columns the API server makes as it does for kubectl, or as objects.

Of a run in a table only its metadata is transferred, however large its prompt is. The newest comes last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from stromboli.cli.outage import Outage
from stromboli.cli.runs import reading
from stromboli.cli.tables import line
from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.kube.states import changes
from stromboli.kube.user import RUNS, User
from stromboli.models.objects import entries, fields, text

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
_PAUSE = 1.0  # seconds before a watch that was lost is begun anew
_GONE = 410

Object = Mapping[str, Any]


def show(
    user: User,
    namespace: str | None,
    names: Sequence[str],
    *,
    output: str,
    labels: str = "",
    session: str = "",
    watch: bool = False,
) -> None:
    """Print the runs of a namespace, or with None of all; then, with `watch`, those that change.

    Raises LocalFailure, also if there is none of a name, after the others were printed.
    """
    shown = Objects(output, len(names) == 1) if output in ("json", "yaml") else Rows(output, namespace is None)
    version, missed = "", list[str]()
    for page in _pages(user, namespace, names, shown.accept, labels, session, missed):
        version = text(fields(page.get("metadata")).get("resourceVersion"))
        shown.add(page)
    if missed and namespace is not None:
        if len(missed) < len(set(names)):
            shown.print(namespace)
        raise reading.missing(namespace, *missed)
    if not watch:
        shown.print(namespace)
        return
    shown.print_so_far()
    outage = Outage(lambda sentence: click.echo(f"stromboli: {line(sentence)}", err=True))
    while True:
        version = _watched(user, namespace, names, shown, labels, session, version, outage)


def _pages(
    user: User,
    namespace: str | None,
    names: Sequence[str],
    accept: str,
    labels: str,
    session: str,
    missed: list[str],
) -> Iterator[Object]:
    """What there is; `missed` gets the names of which there is none."""
    if names:
        assert namespace is not None, "the command has checked that"
        for name in dict.fromkeys(names):
            try:
                found = user.document(RUNS.path(namespace, name), accept=accept)
            except ApiRefused as e:
                if e.status != 404 or e.hint:
                    raise
                missed.append(name)
            else:
                yield found
        return
    query = {"limit": "500" if accept else "100", "labelSelector": labels, "fieldSelector": _of_session(session)}
    yield from user.pages(RUNS, namespace, query, accept)


def _of_session(session: str) -> str:
    return f"spec.session.name={session}" if session else ""


def _watched(
    user: User,
    namespace: str | None,
    names: Sequence[str],
    shown: Rows | Objects,
    labels: str,
    session: str,
    version: str,
    outage: Outage,
) -> str:
    """One watch: prints what changes. Returns the version to continue from."""
    name = names[0] if len(names) == 1 else ""
    try:
        for _, found in changes(
            user, RUNS, namespace, version, name=name, labels=labels, fields=_of_session(session), accept=shown.accept
        ):
            outage.over()
            for obj in _inside(found):
                version = text(fields(obj.get("metadata")).get("resourceVersion")) or version
                if not names or text(fields(obj.get("metadata")).get("name")) in names:
                    shown.add(found)
                    shown.print_so_far()
    except (ApiUnreachable, ApiRefused) as e:
        if isinstance(e, ApiRefused) and e.status == _GONE:
            newest = user.document(RUNS.path(namespace), {"limit": "1"})
            return text(fields(newest.get("metadata")).get("resourceVersion"))
        if isinstance(e, ApiRefused) and not e.is_transient:
            raise
        outage.lost(e)
        time.sleep(_PAUSE)
    return version


def _inside(document: Object) -> Iterator[Object]:
    """The objects in a table, or the object itself."""
    if document.get("kind") == "Table":
        return (fields(row.get("object")) for row in entries(document.get("rows")))
    return iter((document,))


class Rows:
    """Output in lines: a table (`table` or `wide`), or names (`name`)."""

    accept = TABLE

    def __init__(self, output: str, namespaces: bool) -> None:
        self._names_only = output == "name"
        self._wide = output == "wide"
        self._namespaces = namespaces
        self._columns: list[str] = []
        self._taken: list[int] = []  # the places of the columns that are shown
        self._rows: list[tuple[str, list[str]]] = []  # with the time of creation
        self._widths: list[int] = []

    def add(self, table: Object) -> None:
        """Another page, or an event's table, which may come without the columns."""
        if columns := list(entries(table.get("columnDefinitions"))):
            self._taken = [n for n, each in enumerate(columns) if self._wide or not each.get("priority")]
            self._columns = [text(columns[n].get("name")).upper() for n in self._taken]
        for row in entries(table.get("rows")):
            about = fields(fields(row.get("object")).get("metadata"))
            cells = row.get("cells")
            values = [_cell(cells[n]) for n in self._taken if isinstance(cells, list) and n < len(cells)]
            where = [text(about.get("namespace"))] if self._namespaces else []
            name = [f"agentrun.stromboli.dev/{text(about.get('name'))}"]
            self._rows.append((text(about.get("creationTimestamp")), name if self._names_only else [*where, *values]))

    def print(self, namespace: str | None) -> None:
        if not self._rows and not self._names_only:
            where = f"in the namespace {namespace}" if namespace is not None else "in any namespace"
            click.echo(f"no AgentRuns {where}", err=True)
        else:
            self.print_so_far()

    def print_so_far(self) -> None:
        """Print what was added. The head comes first, once; columns only get wider."""
        rows = [cells for _, cells in sorted(self._rows, key=lambda row: row[0])]
        self._rows.clear()
        if not self._widths and rows and not self._names_only:
            rows.insert(0, [*(["NAMESPACE"] if self._namespaces else []), *self._columns])
        for row in (shown := [[line(cell) for cell in row] for row in rows]):
            self._widths += [0] * (len(row) - len(self._widths))
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, row, strict=False)]
        for row in shown:
            click.echo("   ".join(f"{c:<{w}}" for c, w in zip(row, self._widths, strict=False)).rstrip())


class Objects:
    """Output as JSON or YAML: one object for a single name, else a list; while watching, object after object."""

    accept = ""

    def __init__(self, output: str, single: bool) -> None:
        self._yaml = output == "yaml"
        self._single = single
        self._printed = False
        self._objects: list[Object] = []

    def add(self, document: Object) -> None:
        """An object, or a page of a list, whose items come without their kind."""
        if not isinstance(items := document.get("items"), list):
            self._objects.append(document)
            return
        kind = text(document.get("kind")).removesuffix("List")
        head = {"apiVersion": document.get("apiVersion"), "kind": kind}
        self._objects += [{**head, **item} for item in entries(items)]

    def print(self, namespace: str | None) -> None:
        if self._single:
            self.print_so_far()
            return
        self._print({"apiVersion": "v1", "kind": "List", "items": self._objects})

    def print_so_far(self) -> None:
        for found in self._objects:
            self._print(found)
        self._objects.clear()

    def _print(self, document: Object) -> None:
        if self._yaml and self._printed:
            click.echo("---")
        self._printed = True
        click.echo(dumped(document, "yaml" if self._yaml else "json"))


def dumped(document: Object, output: str) -> str:
    """An object as JSON or YAML. Both escape all control characters."""
    if output == "json":
        return json.dumps(document, indent=2)
    import yaml

    return str(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)).rstrip("\n")


def _cell(value: Any) -> str:
    return "-" if value in (None, "") else str(value)
