"""`build`: the image of a service, built from a folder of the node. What is in the folder is read later."""

from __future__ import annotations

import posixpath
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from stromboli.compose import stack
from stromboli.compose.forms.path import clean
from stromboli.compose.typed.base import Ignored, Obeyed, Strict, Wrong
from stromboli.compose.typed.values import Texts, Variables, Word, each, word
from stromboli.errors import InvalidInput
from stromboli.grammar import reference

DOCKERFILE = "Dockerfile"
_OWN = "stromboli/"  # as in naming.COPIES
_NOT_HERE = "builds run without it; take it out"


def _tag(value: object) -> str:
    """A name for the built image. It is never given; one that another run could ask for is refused all the same."""
    text = word(value)
    try:
        named = reference.parse(text)
    except InvalidInput as e:
        raise ValueError(e.message) from e
    if named.registry != "localhost" or named.path.startswith(_OWN):
        raise ValueError(
            "would give the built image a name that other runs can ask for; built images have no names here: take the "
            "tag out, or begin it with localhost/"
        )
    return text


class Build(Strict):
    """How an image is built."""

    refused: ClassVar = {
        "additional_contexts": "copy what the build needs into its context",
        "cache_to": _NOT_HERE,
        "entitlements": "a build has no privileges",
        "extra_hosts": _NOT_HERE,
        "isolation": "it is an option of Windows",
        "labels": "set the service's labels instead",
        "network": "a build has the network of every other build",
        "no_cache": _NOT_HERE,
        "no_cache_filter": _NOT_HERE,
        "platforms": "an image is built for the node's own platform",
        "privileged": "a build has no privileges",
        "provenance": _NOT_HERE,
        "pull": "whether images are pulled is the policy's decision (images.pullPolicy)",
        "sbom": _NOT_HERE,
        "secrets": "a build has no secrets",
        "shm_size": _NOT_HERE,
        "ssh": "a build cannot use keys of the operator; copy what it needs into its context",
        "ulimits": _NOT_HERE,
    }

    emptiable: ClassVar = frozenset({"dockerfile", "target"})

    context: Annotated[
        Word | None,
        Obeyed("A folder of the node that a policy allows; the file's own by default. Not a URL."),
    ] = None
    dockerfile: Annotated[Word | None, Obeyed("A path from the context on, in a folder that a policy allows.")] = None
    dockerfile_inline: Annotated[str | None, Obeyed()] = None
    args: Annotated[Variables, Obeyed("One without a value is answered as `${…}` is.")] = Field(default_factory=dict)
    target: Annotated[Word | None, Obeyed()] = None
    cache_from: Annotated[Texts, Ignored("a build begins anew, unless nothing of it has changed")] = ()
    tags: Annotated[
        tuple[str, ...],
        BeforeValidator(each(_tag)),
        Ignored("built images have no names here; only localhost/… is accepted"),
    ] = ()

    @model_validator(mode="after")
    def _whole(self) -> Build:
        if self.dockerfile is not None and self.dockerfile_inline is not None:
            raise Wrong(("dockerfile_inline",), "cannot be given together with dockerfile; keep one of the two")
        if self.context is not None and not self.context.startswith("/"):
            raise Wrong(("context",), "is not a folder of the node; a build from somewhere else is not supported")
        if self.context is None and self.dockerfile_inline is None:
            raise Wrong(("context",), "is missing: a stack that is in no folder has no folder to build from")
        return self

    def typed(self, at: str, variables: dict[str, str]) -> stack.Build:
        args = {name: variables.get(name) if value is None else value for name, value in self.args.items()}
        return stack.Build(
            at=at,
            context=None if self.context is None else clean(self.context),
            dockerfile=self._dockerfile(),
            dockerfile_inline=self.dockerfile_inline,
            args={name: value for name, value in args.items() if value is not None},
            target=self.target,
        )

    def _dockerfile(self) -> str | None:
        if self.dockerfile_inline is not None or self.context is None:
            return None
        return clean(posixpath.join(self.context, self.dockerfile or DOCKERFILE))
