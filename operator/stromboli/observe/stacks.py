"""The files of a run's environment, and the variables for them: what `compose.document.load` makes a document of.

On the node, relative paths and `.env` belong to the folder of the first file. A file in the run itself or in a
ConfigMap has no folder, so it can name no files. The operator's own environment answers no variable.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stromboli.compose import dotenv
from stromboli.compose.document.events import MAX_SIZE
from stromboli.compose.document.load import Source
from stromboli.compose.files import Files, NoFiles
from stromboli.errors import ComposeProblem, NotPermitted, Unanswered, Unreadable, Waiting
from stromboli.models.environment import Environment
from stromboli.observe import hostfiles
from stromboli.observe.reads import ClusterReads
from stromboli.observe.references import config_map_key
from stromboli.observe.stackfiles import NodeFiles
from stromboli.plan import volumes
from stromboli.plan.policy import Effective, VolumeList
from stromboli.reasons import Reason

FIELD = "spec.environment"
# Variables by which Compose itself is told what the environment's fields say.
_COMPOSES_OWN = {"COMPOSE_FILE": "paths", "COMPOSE_PROFILES": "profiles"}
_NO_NAME = re.compile(r"[^a-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Project:
    """The arguments of `compose.document.load`. `files` blocks: everything that reads from it is called within
    `hostfiles.in_time`. `notices` are sentences about what is accepted without effect.
    """

    sources: tuple[Source, ...]
    variables: Mapping[str, str]
    files: Files
    notices: tuple[str, ...] = ()


async def project(
    cluster: ClusterReads, namespace: str, environment: Environment, policy: Effective, session: str
) -> Project:
    """The project of an environment. `session` is the name of its session, or of the run.

    Raises ComposeProblem, NotPermitted, Waiting, ClusterUnavailable. Their keys are the fields of the run.
    """
    if environment.files:
        try:
            return await hostfiles.in_time(_on_node, environment, policy.volumes, session)
        except Unanswered as problem:
            raise Waiting(Reason.WaitingForReference, f"{FIELD}: {problem}", 10.0) from problem
    if environment.inline is not None:
        source = Source("inline", None, environment.inline.encode("utf-8", "surrogatepass"))
    else:
        ref = environment.config_map_key_ref
        assert ref is not None, "the checks of plan/request.py have run"
        data = await config_map_key(cluster, namespace, ref, f"{FIELD}.configMapKeyRef")
        source = Source(f"ConfigMap {ref.name}, key {ref.key}", None, data)
    return Project((source,), {**_named(session), **environment.variables}, NoFiles())


def _on_node(environment: Environment, lists: tuple[VolumeList, ...], session: str) -> Project:
    files = NodeFiles(lists)
    sources = []
    for n, path in enumerate(environment.files):
        field = f"{FIELD}.path" if environment.path is not None else f"{FIELD}.paths[{n}]"
        clean = volumes.normal(path)
        sources.append(Source(clean, posixpath.dirname(clean), _read(files, clean, MAX_SIZE, field)))
    folder = sources[0].directory
    assert folder is not None
    given = {"PWD": folder, **environment.variables}
    beside = _dotenv(files, posixpath.join(folder, ".env"), given)
    notices = tuple(
        f"{name} in {folder}/.env has no effect; use {FIELD}.{field}"
        for name, field in _COMPOSES_OWN.items()
        if name in beside
    )
    return Project(tuple(sources), {**_named(session), **beside, **given}, files, notices)


def _read(files: Files, path: str, longest: int, field: str) -> bytes:
    try:
        return files.read(path, longest)
    except Unreadable as problem:
        kind = ComposeProblem if problem.permitted else NotPermitted
        raise kind(field, f"{path} {problem}") from problem


def _dotenv(files: Files, path: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """The variables of the file beside the first one; none if it is not there."""
    try:
        data = files.read(path, dotenv.MAX_SIZE)
    except Unreadable as problem:
        if problem.missing:
            return {}
        kind = ComposeProblem if problem.permitted else NotPermitted
        raise kind(FIELD, f"{path} {problem}") from problem
    try:
        return dotenv.parse(data, path, given)
    except ComposeProblem as problem:  # it names the file and the line
        raise ComposeProblem(FIELD, problem.what) from problem


def _named(session: str) -> dict[str, str]:
    """The name of the project, of the letters that Compose would leave of it. Nothing is called so."""
    return {"COMPOSE_PROJECT_NAME": _NO_NAME.sub("", session.lower()).lstrip("_-")}
