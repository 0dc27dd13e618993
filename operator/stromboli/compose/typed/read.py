"""The merged tree of a project → its stack."""

from __future__ import annotations

from pydantic import ValidationError

from stromboli.compose import stack
from stromboli.compose.document.load import Document
from stromboli.compose.files import Files
from stromboli.compose.typed.assembly import DEFAULT_NETWORK, Assembly
from stromboli.compose.typed.notices import notices
from stromboli.compose.typed.places import Places
from stromboli.compose.typed.plain import plain
from stromboli.compose.typed.project import Project


def typed(document: Document, files: Files) -> stack.Stack:
    """The stack that the document describes; `files` has the env files. Raises ComposeProblem."""
    places = Places(document.root)
    try:
        project = Project.model_validate(plain(document.root))
    except ValidationError as e:
        raise places.first(e) from None  # pydantic's own text would quote the file
    assembly = Assembly(project, document.variables, files, places)
    services = {name: assembly.service(name) for name in project.services}
    networks = {name: stack.Network(name, one.internal, one.labels) for name, one in project.networks.items()}
    if any(DEFAULT_NETWORK in service.networks for service in services.values()):
        networks.setdefault(DEFAULT_NETWORK, stack.Network(DEFAULT_NETWORK))
    return stack.Stack(
        services=services,
        networks=networks,
        volumes={name: stack.Volume(name, one.labels) for name, one in project.volumes.items()},
        notices=(*document.warnings, *notices(project, places)),
    )
