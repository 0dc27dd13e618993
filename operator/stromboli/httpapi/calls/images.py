"""GET /images, /images/search and /images/{name}, POST /images/pull."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from stromboli.errors import ApiRefused, ApiUnreachable
from stromboli.grammar import reference
from stromboli.httpapi import body, nodes, pulling, sse
from stromboli.httpapi.caller import Caller, CallerOf
from stromboli.httpapi.errors import GONE, Refusal, errors_of, invalid, refusal_of
from stromboli.httpapi.openapi import body_of
from stromboli.httpapi.pulling import Arrived, Wanted
from stromboli.httpapi.shapes import base
from stromboli.httpapi.shapes.image import (
    ImageDetail,
    ImagesAnswer,
    PullAnswer,
    PullProgress,
    PullRequest,
    SearchAnswer,
)
from stromboli.httpapi.translate import image as translate
from stromboli.plan.awaited_image import Fetching
from stromboli.reasons import Reason

router = APIRouter(tags=["images"])

DEFAULT, MOST = 25, 100  # results of a search
LONGEST = 255  # characters of a query
LONGEST_NAME = 1024  # of an image
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image is on the node; or the progress as events, then an event `done` or `error`.",
        "content": {sse.MEDIA: {"schema": {"type": "string"}}},
    }
}

Limit = Annotated[int, Query(ge=1, description=f"The most results; {MOST} for any larger number.")]


@router.get("/images", summary="List images", response_model_exclude_none=True, responses=errors_of(404))
async def list_images(caller: CallerOf) -> ImagesAnswer:
    """Those of a node that runs of the namespace may use, those that suit agents best first."""
    found = await nodes.images(caller)
    with nodes.valid():
        return ImagesAnswer(images=translate.images(found))


@router.get("/images/search", summary="Search the registries for images", responses=errors_of(404, 502))
async def search_images(
    caller: CallerOf,
    q: Annotated[str, Query(description="The words to search for.", examples=["python"])],
    limit: Limit = DEFAULT,
    no_trunc: Annotated[bool, Query(description="Leave descriptions as they are.")] = False,
) -> SearchAnswer:
    """The registries are those that a node searches."""
    words, most = " ".join(q.split()), min(limit, MOST)
    if not words or len(words) > LONGEST or not words.isprintable():
        raise invalid("q", f"must have 1 to {LONGEST} printable characters, such as python")
    found = await nodes.search(caller, words, most)
    with nodes.valid():
        if found["unanswered"] and not found["answered"]:
            said = "; ".join(f"{each['registry']}: {each['message']}" for each in found["unanswered"])
            raise Refusal(502, f"no registry has answered the search: {said}", "SearchFailed")
        return SearchAnswer(results=translate.results(found["images"], most, whole=no_trunc))


@router.get(
    "/images/{name:path}",
    summary="Look into an image",
    response_model_exclude_none=True,
    responses=errors_of(404),
)
async def get_image(
    caller: CallerOf, name: Annotated[str, Path(description="Its name, with any slashes.", examples=["python:3.12"])]
) -> ImageDetail:
    """What is in an image of a node, and whether agents can run in it."""
    if len(name) > LONGEST_NAME:
        raise invalid("name", f"is longer than {LONGEST_NAME} characters")
    try:
        found = await nodes.image(caller, name)
    except ApiRefused as refused:
        raise _refused(refused, name) from None
    with nodes.valid():
        return translate.detail(found)


@router.post(
    "/images/pull",
    summary="Pull an image",
    response_model=PullAnswer,
    responses={**_EVENTS, **errors_of(404, 408, 409, 502)},
    openapi_extra=body_of(PullRequest),
)
async def pull_image(request: Request, caller: CallerOf) -> Response:
    """An AgentImage is created, and followed until its image is on a node; of one that is there, the answer comes at
    once. A client that hangs up does not end the pull.
    """
    asked = base.parse(await body.read(request), PullRequest)
    wanted = await pulling.wanted(caller, reference.parse(asked.image))
    if sse.MEDIA in request.headers.get("accept", "").lower():
        return sse.answer(_events(caller, wanted, asked), "the pull goes on")
    answer = await body.unless_gone(request, _pulled(caller, wanted, asked))
    if answer is not None:
        return JSONResponse(answer.model_dump())
    return Response(status_code=GONE)


async def _pulled(caller: Caller, wanted: Wanted, asked: PullRequest) -> PullAnswer:
    async with aclosing(_progress(caller, wanted, asked)) as steps:
        async for step in steps:
            if isinstance(step, PullAnswer):
                return step
    raise AssertionError("it ends with an answer or an error")


async def _events(caller: Caller, wanted: Wanted, asked: PullRequest) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(_progress(caller, wanted, asked)) as steps:
            async for step in steps:
                if isinstance(step, PullAnswer):
                    yield sse.event({"event": "done"}, step.model_dump())
                elif not asked.quiet:
                    yield sse.event({}, step.model_dump())
    except (Refusal, ApiRefused, ApiUnreachable) as e:
        yield sse.event({"event": "error"}, refusal_of(e).answer().model_dump())


async def _progress(
    caller: Caller, wanted: Wanted, asked: PullRequest
) -> AsyncGenerator[PullProgress | PullAnswer, None]:
    async with aclosing(pulling.followed(caller, wanted)) as steps:
        async for step in steps:
            match step:
                case Fetching():
                    yield PullProgress(
                        message=step.message,
                        fetched=step.fetched,
                        size=step.size,
                        complete_layers=step.complete,
                        layers=step.layers,
                    )
                case Arrived():
                    if asked.platform is not None and asked.platform not in step.platforms:
                        await pulling.discard(caller, wanted)
                        raise _other_platform(asked.platform, step)
                    yield PullAnswer(image_id=translate.image_id(step.image_id), image=asked.image)


def _other_platform(asked: str, there: Arrived) -> Refusal:
    nodes_have = " and ".join(sorted(there.platforms))
    return invalid("platform", f"{asked} is not the node's, which has the image for {nodes_have}; leave it out")


def _refused(refused: ApiRefused, name: str) -> Refusal:
    """What the read API says about an image: a policy's refusal is about the request, and not about the caller."""
    answer = refusal_of(refused)
    if answer.status == 404 and refused.reason == "ImageMissing":
        return Refusal(404, f"the image {name} is not on the node; POST /images/pull pulls it", refused.reason)
    if answer.status == 403 and refused.reason in Reason.__members__:
        return Refusal(400, answer.error, answer.reason, {"field": "name"})
    return answer
