"""The paths of the read API, with their parameters: what may be asked (routes.py), and what OpenAPI says of it
(discovery.py). Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Place(Enum):
    """Where an answer is."""

    RUN = "agentruns"  # on the node of the AgentRun
    SESSION = "agentsessions"  # on the node of the AgentSession
    ANY = ""  # on any node, or on that of the parameter `node`


@dataclass(frozen=True, slots=True)
class Operation:
    """One path of the API below the version, in which `{…}` stands for a name, and where its answer is; `parameters`
    by name with a type and a description.
    """

    path: str
    place: Place
    says: str
    produces: str
    parameters: tuple[tuple[str, str, str], ...] = ()


_NODE = ("node", "string", "The node; any by default.")
OPERATIONS = (
    Operation(
        "namespaces/{namespace}/agentruns/{name}/log",
        Place.RUN,
        "What a step of an AgentRun has printed, as it is printed.",
        "text/plain",
        (
            ("uid", "string", "The UID that the AgentRun must have."),
            ("attempt", "integer", "The attempt; the last one by default."),
            ("step", "string", "agent (the default), stderr, supervisor, or a hook such as postStart[0]."),
            ("service", "string", "A service of the run's stack, in place of a step."),
            ("offset", "integer", "The first byte, counted from the beginning of the output."),
            ("limitBytes", "integer", "The most bytes to send."),
            ("sinceSeconds", "integer", "Only what was printed in so many seconds."),
            ("follow", "boolean", "Send what is printed until the step ends."),
        ),
    ),
    Operation(
        "namespaces/{namespace}/agentsessions/{name}/messages",
        Place.SESSION,
        "The conversation of an AgentSession.",
        "application/json",
        (
            ("full", "boolean", "Entries with all that the CLI has recorded of them, in parts."),
            ("offset", "integer", "With `full`: how many of the oldest to leave out."),
            ("limit", "integer", "With `full`: the most entries to send."),
            ("uuid", "string", "With `full`: the entry of this id only."),
        ),
    ),
    Operation(
        "namespaces/{namespace}/images",
        Place.ANY,
        "The images of a node that runs of a namespace may use.",
        "application/x-ndjson",
        (_NODE,),
    ),
    Operation(
        "namespaces/{namespace}/images/inspect",
        Place.ANY,
        "What is in an image.",
        "application/json",
        (("reference", "string", "The image."), _NODE),
    ),
    Operation(
        "namespaces/{namespace}/images/search",
        Place.ANY,
        "Images in the registries that a node searches.",
        "application/json",
        (
            ("query", "string", "The words to search for."),
            ("limit", "integer", "The most results of each registry."),
            _NODE,
        ),
    ),
    Operation(
        "namespaces/{namespace}/claudestatus",
        Place.ANY,
        "Whether runs of a namespace have credentials for Claude.",
        "application/json",
        (_NODE,),
    ),
    Operation(
        "images",
        Place.ANY,
        "All images of a node.",
        "application/x-ndjson",
        (
            ("namespace", "string", "The namespace whose runs could use them."),
            _NODE,
        ),
    ),
)
