"""Names, labels and paths that several packages have to agree on. Only constants and pure functions.

Every Podman object that we create has a name computed from its owner's UID, and labels with the installation and the
object that own it. Ownership of an object found on the node is decided by both: see plan/ownership.py.

A session may have several containers at once, each with a role of its own. Session and role together identify one of
them (`ContainerKey`), and its name and labels are computed from both.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass
from typing import NewType

GROUP = "stromboli.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MANAGER = "stromboli-operator"

# The read API: what is on the nodes, behind the API server's aggregation layer.
AGENTS_GROUP = f"agents.{GROUP}"
AGENTS_API = f"/apis/{AGENTS_GROUP}/{VERSION}"  # the beginning of its paths
API_SERVICE = f"{VERSION}.{AGENTS_GROUP}"
METRICS = "/metrics"  # the path at which Prometheus asks operators and gateways
# In the operator's namespace: the Service of what answers for that group, the Secret with the keys that it shares with
# the operators, and the ConfigMap in which each operator says where it listens.
GATEWAY_SERVICE = "stromboli-gateway"
GATEWAY_KEYS = "stromboli-gateway"
OPERATORS = "stromboli-operators"

# RFC 1123 subdomain: the names of most Kubernetes objects, Secrets and ConfigMaps among them.
OBJECT_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

# Labels on containers, volumes and networks.
INSTALLATION = f"{GROUP}/installation"  # UID of the cluster's kube-system namespace
OWNER = f"{GROUP}/owner"  # UID of the AgentRun (or of its session)
RUN = f"{GROUP}/run"  # namespace/name, for humans only
ROLE = f"{GROUP}/role"  # what a container is for: a `Role` if it is a session's, otherwise one of the two below
ROLE_HOLDER = "cli-holder"
ROLE_READER = "look"  # the word of the versions that may have left one
SHAPE = f"{GROUP}/shape"  # of an agent's container: its properties that policies restrict, as JSON
ROLE_BUILT = "built"  # of an image that was built for a stack: a container of it has a role of its own
# Labels on the parts of a compose stack: the names that the file has for them …
SERVICE = f"{GROUP}/service"  # on a service's container and its built image
BUILD = f"{GROUP}/build"  # on a built image: what it was built from, as a hash
STACK_NETWORK = f"{GROUP}/network"
STACK_VOLUME = f"{GROUP}/volume"  # a volume without a name in the file is `SERVICE:TARGET`
# … and, on containers, what they were created from, and how they are supervised, both as JSON.
DEFINITION = f"{GROUP}/definition"
SUPERVISION = f"{GROUP}/supervision"

# On a Secret that the HTTP API has made: that it is one of /secrets, and (an annotation) the name that it was given.
SECRET_LABEL = f"{GROUP}/secret"
SECRET_NAME = f"{GROUP}/secret-name"

# What a container is for in its session: a word that is unique there, and valid as a label and as part of a name. What
# finds, watches or removes containers takes any role.
Role = NewType("Role", str)
AGENT = Role("agent")
JANITOR = Role("janitor")  # takes back ownership of files in the session's folder: node/janitor.py
COPIER = Role("copier")  # copies the volume of a fork's parent: node/copy.py
ROLES = (AGENT, JANITOR, COPIER)

# Paths inside the agent's container.
RUNTIME = "/run/stromboli"
PLAN = f"{RUNTIME}/plan"
OUT = f"{RUNTIME}/out"
HANDED = f"{RUNTIME}/handed"
SECRET = "/dev/shm/.stromboli"  # the container's own tmpfs, whose size Podman limits
SECRET_FILES = f"{RUNTIME}/secret"  # a tmpfs of its own, for the files of `spec.secretFiles`
SESSION = f"{RUNTIME}/session"
CONFIG_DIR = f"{SESSION}/claude"
LLM_GATEWAY = f"{RUNTIME}/gateway"
CLI_MOUNT = "/opt/claude"
MANAGED = "/etc/claude-code"  # where the CLI reads the settings that override all others

# In these nothing but the operator's own may be mounted; all targets of that, and the tmpfs that `SECRET` is on.
TREES = (RUNTIME, CLI_MOUNT, MANAGED)
OWN_MOUNTS = (RUNTIME, PLAN, OUT, HANDED, SECRET_FILES, SESSION, LLM_GATEWAY, CLI_MOUNT, MANAGED, "/dev/shm")

# Environment variables that the operator sets itself …
OWN_ENV = ("HOME", "PATH", "CLAUDE_CONFIG_DIR", "IS_SANDBOX")
OWN_ENV_PREFIX = "STROMBOLI_"
# … those of the supervisor, a shell script that loads a run's variables into itself (attempt/supervisor/) …
SUPERVISOR_ENV_RE2 = "^_[a-z]"
# … those that make the CLI's own runtime load other code, wait for a debugger, print its requests including the API
# key, or act as another process's worker (each tried with CLI 2.1.332) …
RUNTIME_ENV = (
    "NODE_OPTIONS",
    "NODE_CHANNEL_FD",
    "NODE_UNIQUE_ID",
    "BUN_OPTIONS",
    "BUN_BE_BUN",
    "BUN_CONFIG_VERBOSE_FETCH",
)
RUNTIME_ENV_PREFIXES = ("BUN_INSPECT", "BUN_JSC_")
# … and, including these, those that make the dynamic loader or a shell run foreign code (ld.so(8), bash(1)).
LOADER_ENV = ("BASH_ENV", "ENV", "GCONV_PATH", "GLIBC_TUNABLES", *RUNTIME_ENV)
LOADER_ENV_PREFIXES = ("LD_", "BASH_FUNC_", *RUNTIME_ENV_PREFIXES)


NETWORK = re.compile(r"stromboli-[0-9a-f]{16}")  # the names that `network` returns
# Registry and repository of the images that forks start from.
COPIES = ("localhost", "stromboli/session")
BUILDS = ("localhost", "stromboli/built")  # the same of images that were built for a stack
STACKED = "-stacked"  # tag suffix of such an image with too many layers, until it is flattened

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # RFC 1123 label
_OBJECT_NAME = re.compile(OBJECT_NAME_PATTERN.removeprefix("^").removesuffix("$"))


def is_object_name(text: str) -> bool:
    """Whether this is a valid object name. Only a valid name may become part of an API path."""
    return len(text) <= 253 and _OBJECT_NAME.fullmatch(text) is not None


def is_namespace(text: str) -> bool:
    """Whether this is a valid name of a namespace. Only a valid one may become part of an API path."""
    return _NAMESPACE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ContainerKey:
    """Identifies a container by its session's UID (or that of a run without a named session) and its role there."""

    session: str
    role: Role

    @property
    def name(self) -> str:
        """Its name in Podman; an agent's is without a role, as it was when agents were the only containers."""
        own = f"stromboli-{self.session}"
        return own if self.role == AGENT else f"{own}-{self.role}"


def agent(session_uid: str) -> ContainerKey:
    """The container that a session's agents run in."""
    return ContainerKey(session_uid, AGENT)


def volume(session_uid: str) -> str:
    """The volume that holds a session's conversation."""
    return f"stromboli-{session_uid}"


def copy(session_uid: str) -> str:
    """The image that has the filesystem that a fork started from."""
    return f"{'/'.join(COPIES)}:{session_uid}"


def conversation(session_uid: str) -> str:
    """The CLI's session ID for a session's conversation: derived from the UID, so it is known in advance and stable."""
    return str(uuid.uuid5(uuid.UUID(session_uid), "conversation"))


def holder(installation: str, image_id: str) -> str:
    """The container that keeps one CLI image mounted on this node, for one installation."""
    return f"stromboli-cli-{installation[:8]}-{image_id[:12]}"


def reader(image_id: str) -> str:
    """Name prefix of a temporary container through which files of an image, or of a volume, are read."""
    return f"stromboli-look-{image_id[:12]}"


def network(installation: str, namespace: str) -> str:
    """The bridge network of one Kubernetes namespace."""
    digest = hashlib.sha256(f"{installation}/{namespace}".encode()).hexdigest()
    return f"stromboli-{digest[:16]}"


def attempt(run_uid: str, number: int) -> str:
    """The name of an attempt's folder, inside the session's folder."""
    return f"{run_uid}-{number}"


def operator_host(node: str) -> str:
    """The name in the certificate of a node's operator. Its address may later be another's, its name may not."""
    return f"node-{hashlib.sha256(node.encode()).hexdigest()[:16]}.operators.{GROUP}"


def event(key: str, reason: str) -> str:
    """A deterministic Event name, so that emitting an event twice creates one object."""
    digest = hashlib.sha256(f"{key}/{reason}".encode()).hexdigest()
    return f"stromboli.{digest[:24]}"
