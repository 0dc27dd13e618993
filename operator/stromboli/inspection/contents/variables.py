"""What an image's environment says: where to look, and which version a program has that was seen there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stromboli.inspection.opener import DEFAULT_PATH
from stromboli.plan.contents import version_of

_LONGEST = 4096  # characters of a value
_LONGEST_FOLDER = 256
_MOST_FOLDERS = 16

# The variables in which images state a tool's version, the more exact one first.
VERSIONS = {
    "python": ("PYTHON_VERSION",),
    "node": ("NODE_VERSION",),
    "go": ("GOLANG_VERSION", "GO_VERSION"),
    "java": ("JAVA_VERSION",),
    "ruby": ("RUBY_VERSION",),
    "php": ("PHP_VERSION",),
    "rust": ("RUST_VERSION",),
    "dotnet": ("DOTNET_SDK_VERSION", "DOTNET_VERSION"),
    "bun": ("BUN_VERSION",),
    "deno": ("DENO_VERSION",),
    "perl": ("PERL_VERSION",),
    "cmake": ("CMAKE_VERSION",),
    "pip": ("PYTHON_PIP_VERSION", "PIP_VERSION"),
    "uv": ("UV_VERSION",),
    "npm": ("NPM_VERSION",),
    "pnpm": ("PNPM_VERSION",),
    "yarn": ("YARN_VERSION",),
    "maven": ("MAVEN_VERSION",),
    "gradle": ("GRADLE_VERSION",),
    "mysql": ("MYSQL_VERSION",),
    "redis-cli": ("REDIS_VERSION",),
    "docker": ("DOCKER_VERSION",),
    "kubectl": ("KUBECTL_VERSION",),
    "terraform": ("TERRAFORM_VERSION",),
}
_PREFIXES = ("jdk-", "go", "v")


def parse(environ: Iterable[str]) -> dict[str, str]:
    """The variables of `NAME=value` entries that are printable and not absurdly long."""
    entries = (entry.partition("=") for entry in environ if len(entry) <= _LONGEST)
    return {name: value for name, _, value in entries if value.isprintable()}


def version(variables: Mapping[str, str], tool: str) -> str:
    """The version that the environment states for a tool; empty if it states none."""
    for name in VERSIONS.get(tool, ()):
        value = variables.get(name, "")
        for prefix in _PREFIXES:
            value = value.removeprefix(prefix)
        if stated := version_of(value):
            return stated
    return ""


def path(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The folders of PATH, in its order."""
    folders = (variables.get("PATH") or DEFAULT_PATH).split(":")
    return tuple(dict.fromkeys(folder for each in folders if (folder := absolute(each))))[:_MOST_FOLDERS]


def absolute(folder: str) -> str:
    """The folder without a slash at its end; empty if it is none that may be looked at."""
    folder = folder.rstrip("/")
    return folder if folder.startswith("/") and len(folder) <= _LONGEST_FOLDER else ""
