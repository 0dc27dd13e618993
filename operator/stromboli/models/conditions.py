"""Conditions, as in metav1.Condition (Kubernetes API conventions, "Typical status properties")."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stromboli.models.base import Model


class Condition(Model):
    """One condition."""

    type: str = Field(description="The type of the condition, out of a documented list.", max_length=316)
    status: str = Field(description="True, False or Unknown.", max_length=16)
    observed_generation: int = Field(0, description="Generation of the spec that was processed.")
    last_transition_time: str = Field(description="When the status last changed.", max_length=64)
    reason: str = Field(description="The reason for the status, out of a documented list.", max_length=1024)
    message: str = Field("", description="A sentence that says what to do.", max_length=32768)


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
