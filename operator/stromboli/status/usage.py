"""What attempts used, in a status's format: of one attempt, and their sum, which is the run's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stromboli.errors import InvalidInput
from stromboli.grammar import duration
from stromboli.models.objects import entries
from stromboli.plan.answer import Answer, ModelUse
from stromboli.plan.transcript import MAX_MODELS

COST_DIGITS = 6  # decimal places: sums of binary fractions end in ...99999998
_COUNTS = ("turns", "inputTokens", "outputTokens", "cacheReadTokens", "cacheCreationTokens")

Wire = dict[str, Any]
Known = Mapping[str, Any]


def of_attempt(answer: Answer) -> Wire:
    """What one attempt used; without the cost, if that is unknown."""
    used: Wire = {
        "turns": answer.turns,
        "inputTokens": answer.input_tokens,
        "outputTokens": answer.output_tokens,
        "cacheReadTokens": answer.cache_read_tokens,
        "cacheCreationTokens": answer.cache_creation_tokens,
    }
    if answer.cost_usd is not None:
        used["costUSD"] = round(answer.cost_usd, COST_DIGITS)
    return used


def of_run(attempts: Iterable[Known], before: Known, answer: Answer | None, *, named: bool) -> Wire:
    """The sum of the attempts' usages; `before` is the sum that is known, without the models and the service time of
    `answer`. `named` says whether these models may be named.
    """
    total = _sum(attempts)
    models = {str(each.get("model")): dict(each) for each in entries(before.get("models"))}
    for used in answer.models if answer is not None and named else ():
        if used.model in models or len(models) < MAX_MODELS:
            known = models.setdefault(used.model, {"model": used.model})
            known |= _sum([known, _of_model(used)])
    if models:
        total["models"] = list(models.values())
    if answer is not None and answer.api_seconds is not None:
        total["apiDuration"] = duration.format(_seconds(before) + answer.api_seconds)
    elif "apiDuration" in before:
        total["apiDuration"] = before["apiDuration"]
    return total


def _of_model(used: ModelUse) -> Wire:
    found: Wire = {
        "inputTokens": used.tokens.input,
        "outputTokens": used.tokens.output,
        "cacheReadTokens": used.tokens.cache_read,
        "cacheCreationTokens": used.tokens.cache_creation,
    }
    return found if used.cost_usd is None else {**found, "costUSD": used.cost_usd}


def _sum(usages: Iterable[Known]) -> Wire:
    """The sum of the counts and of the known costs."""
    total: Wire = {}
    costs: list[float] = []
    for used in usages:
        for name in _COUNTS:
            if name in used:
                total[name] = total.get(name, 0) + _number(used[name])
        if "costUSD" in used:
            costs.append(_number(used["costUSD"]))
    return {**total, "costUSD": round(sum(costs), COST_DIGITS)} if costs else total


def _number(value: object) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def _seconds(used: Known) -> float:
    try:
        return duration.parse(str(used.get("apiDuration") or ""))
    except InvalidInput:  # absent, or `0s`
        return 0.0
