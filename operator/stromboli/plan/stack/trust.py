"""What a file may not do to the agent that runs in one of its services: load other code into the CLI, pose as whoever
the agent sends its credentials to, or cut it off from them. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from stromboli.compose.problem import key, quoted
from stromboli.compose.selection import Selected
from stromboli.compose.stack import Service
from stromboli.errors import ComposeProblem, NotPermitted
from stromboli.models.agentpolicy import Network
from stromboli.plan import variables
from stromboli.plan.request import GATEWAY_SOCKET
from stromboli.plan.stack.aliases import aliases

# A variable that only interactive shells heed, and that many files have for something else.
_HARMLESS = "ENV"


def judge(selected: Selected, env: Mapping[str, str], network: Network) -> None:
    """`env` are the policies' variables for every agent, `network` what they allow. Raises ComposeProblem,
    NotPermitted.
    """
    for one in selected.services.values():
        if one.network_mode == "host" and network is Network.none:
            at = key(("services", one.name, "network_mode"))
            raise NotPermitted(at, "is host, and a policy sets network: none", one.where(at))
    service = selected.services[selected.agent]
    for name in service.environment:
        # What only the CLI's own runtime heeds is withheld from it, as of an image.
        if variables.loads_code(name) and name != _HARMLESS and not variables.is_withheld(name):
            what = f"{quoted(name)} changes which code the agent's process loads; leave it out of this service"
            raise _problem(service, "environment", what)
    trusted = set(_hosts(env))
    for name, networks in aliases(selected.services).items():
        for known in (known for names in networks.values() for known in names):
            if known.lower() in trusted:
                what = f"answers to {quoted(known)}, a host that a policy's env names for agents; choose another name"
                raise ComposeProblem(key(("services", name)), what, str(selected.services[name].mark or ""))
    if service.network_mode == "none" and not env.get(GATEWAY_SOCKET):
        what = (
            "is none: without a network the agent does not reach the Messages API; leave it out, or have an "
            f"administrator set up a gateway ({GATEWAY_SOCKET})"
        )
        raise _problem(service, "network_mode", what)


def _hosts(env: Mapping[str, str]) -> Iterator[str]:
    """The hosts in variables that are URLs, in small letters."""
    for value in env.values():
        try:
            host = urlsplit(value).hostname
        except ValueError:
            continue
        if host is not None:
            yield host


def _problem(service: Service, name: str, what: str) -> ComposeProblem:
    at = key(("services", service.name, name))
    return ComposeProblem(at, what, service.where(at))
