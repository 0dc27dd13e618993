"""What `stromboli run` and `rerun` do: from arguments to a manifest, to a run that is created and followed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stromboli import bounds, visible
from stromboli.cli import cluster, exitcodes, interrupts
from stromboli.cli.runs import following, getting, manifest, outcome
from stromboli.cli.runs.run import FLAGS
from stromboli.errors import ApiRefused, ApiUnreachable, LocalFailure
from stromboli.kube.user import RUNS, Object, User
from stromboli.models.objects import fields, text

MAX_PROMPT = 1024 * 1024  # bytes, as in the kind
TRIES = 3  # of generated names

Given = Mapping[str, Any]


def run(namespace: str | None, context: str, kubeconfig: Path | None, given: Given) -> int:
    """Returns the exit code. Raises LocalFailure, and UsageError."""
    body = _manifest(given)
    stated = text(body["metadata"].get("namespace"))
    if namespace and stated and namespace != stated:
        raise click.UsageError(f"-n {namespace}: the manifest's namespace is {stated}")
    if given["dry_run"]:
        _name(body, namespace or stated or None, given)
        click.echo(getting.dumped(body, "json" if given["output"] == "json" else "yaml"))
        return 0
    with cluster.user(namespace or stated, context, kubeconfig) as user:
        _name(body, user.namespace, given)
        output = "detached" if given["detach"] else given["output"]
        return launch(user, user.namespace, body, output=output, remove=given["remove"])


def launch(user: User, namespace: str, body: manifest.Object, *, output: str, remove: bool = False) -> int:
    """Create a run, and follow it unless `output` is `detached`. Returns the exit code. Raises LocalFailure."""
    if output == "detached":
        with interrupts.held_back():  # its name is printed, in any case
            click.echo(outcome.name(_created(user, namespace, body)))
        return 0
    with following.Following(user, namespace) as watched:
        created = _created(user, namespace, body)
        name = outcome.name(created)
        click.echo(f"stromboli: AgentRun {namespace}/{name}", err=True)
        ended = watched.to_the_end(
            created, following.conversation if output == "conversation" else following.conditions
        )
    _print(ended, output)
    if remove:
        _delete(user, namespace, ended)
    return outcome.of(ended).code


def _delete(user: User, namespace: str, run: Object) -> None:
    """Delete it, unless it is gone already, or its name is another one's now."""
    try:
        user.delete(RUNS, namespace, outcome.name(run), uid=outcome.uid(run))
    except ApiRefused as e:
        if e.status not in (404, 409):
            raise


def _manifest(given: Given) -> manifest.Object:
    if given["detach"] and given["remove"]:
        raise click.UsageError("--rm needs somebody who follows the run; --ttl 0 deletes it without")
    if given["name"] and given["generate_name"]:
        raise click.UsageError("give --name, or --generate-name")
    if given["image"] == "-":  # no image, but standard input: `stromboli run - < question.txt`
        given = {**given, "image": None, "words": ("-", *given["words"])}
    run, origin = None, given["filename"]
    if origin is not None:
        content = sys.stdin.buffer.read(bounds.DOCUMENT.size + 1) if origin == "-" else _file(Path(origin))
        run = manifest.read(content, "standard input" if origin == "-" else origin)
    spec = {flag.path: _value(flag.path, given[flag.key]) for flag in FLAGS}
    spec["image"] = given["image"] or None
    has_prompt = run is not None and not {"prompt", "promptFrom"}.isdisjoint(run["spec"])
    spec["prompt"] = _prompt(given, has_prompt=has_prompt, stdin_is_taken=origin == "-")
    return manifest.completed(run, spec, dict(map(manifest.label, given["labels"])))


def _name(body: manifest.Object, namespace: str | None, given: Given) -> None:
    manifest.named(body, namespace or "default", given["name"], given["generate_name"])
    if namespace is None:
        del body["metadata"]["namespace"]


def _prompt(given: Given, *, has_prompt: bool, stdin_is_taken: bool) -> str | None:
    words = " ".join(given["words"])
    if any(map(str.isspace, given["image"] or "")):
        raise click.UsageError("what is written first is the image, and has no spaces; -p gives a prompt without one")
    if words and given["prompt"]:
        raise click.UsageError("give the prompt as PROMPT, or as --prompt")
    said = words or given["prompt"]
    if said == "-":
        if stdin_is_taken:
            raise click.UsageError("standard input is the manifest; it cannot be the prompt too")
        return _piped()
    if said or has_prompt:
        return said or None
    if stdin_is_taken or sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("there is no prompt: write one after the image, or pipe it in")
    return _piped()


def _piped() -> str:
    content = sys.stdin.buffer.read(MAX_PROMPT + 1)
    if len(content) > MAX_PROMPT:
        raise LocalFailure("the prompt on standard input is larger than 1 MiB", "put it into a file that is mounted", 2)
    try:
        said = content.decode("utf-8")
    except UnicodeDecodeError as e:
        raise LocalFailure(f"the prompt on standard input is not UTF-8: {e.reason} at byte {e.start}", code=2) from e
    if not said.strip():
        raise LocalFailure("the prompt on standard input is empty", code=2)
    return said


def _value(path: str, given: Any) -> Any:
    """What an option's value is in the spec."""
    match path:
        case "env":
            return tuple(manifest.variable(each, os.environ) for each in given)
        case "volumes":
            return tuple(manifest.volume(each, Path.cwd()) for each in given)
        case "imagePullSecrets":
            return tuple({"name": each} for each in given)
        case "claude.mcpConfigs":
            return tuple(_document(each) for each in given)
        case "claude.jsonSchema":
            return None if given is None else _document(given)
    return given


def _document(path: Path) -> Any:
    try:
        return bounds.yaml_document(_file(path), bounds.DOCUMENT)
    except ValueError as e:
        raise LocalFailure(f"{path} is neither JSON nor YAML: {e}", code=2) from e


def _file(path: Path) -> bytes:
    from stromboli import files

    try:
        return files.beginning(path, bounds.DOCUMENT.size + 1)
    except OSError as e:
        raise LocalFailure(f"{path} cannot be read: {e.strerror}", code=2) from e


def _created(user: User, namespace: str, body: manifest.Object) -> Object:
    about = body["metadata"]
    for tries in range(TRIES):
        try:
            return user.create(RUNS, namespace, body)
        except ApiRefused as e:
            if e.status == 409 and e.reason == "AlreadyExists":
                if about.get("generateName") and tries + 1 < TRIES:
                    about["name"] = manifest.generated(about["generateName"])
                    continue
                hint = f"`stromboli run --generate-name {about['name']}- …` gives it a name of its own"
                raise LocalFailure(
                    f"there is an AgentRun {about['name']} in the namespace {namespace} already",
                    hint,
                    exitcodes.REFUSED,
                ) from e
            if e.status != 401 and not e.is_transient:  # it is about the run, not about the user or the moment
                e.code = exitcodes.REFUSED
            raise
        except ApiUnreachable as e:
            name = about["name"]
            raise LocalFailure(
                f"{e.message}; whether the AgentRun {name} was created is not known",
                f"`stromboli get {name} -n {namespace}` says so",
            ) from e
    raise AssertionError("the last try returns or raises")


def _print(run: Object, output: str) -> None:
    """What is asked for of a run that has ended, on standard output."""
    result = fields(fields(run.get("status")).get("result"))
    if output == "text":
        structured = result.get("structured")
        said = json.dumps(structured) if structured is not None else visible.text(text(result.get("text")))
        click.echo(said, nl=not said.endswith("\n"))
    elif output == "name":
        click.echo(f"agentrun.stromboli.dev/{outcome.name(run)}")
    elif output in ("json", "yaml"):
        click.echo(getting.dumped(run, output))
