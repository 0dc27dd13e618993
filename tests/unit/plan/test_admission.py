"""The one door for images: the order of its checks, and that a refusal names the slot and the policy."""

from __future__ import annotations

import pytest

from stromboli.errors import Refused
from stromboli.plan import admission
from stromboli.reasons import Reason
from tests.support.builders import effective, policy

SLOT = "spec.image"
DIGEST = f"sha256:{'0' * 64}"


def test_the_order_of_the_checks() -> None:
    assert [check.__name__ for check in admission.CHECKS] == [
        "is_nobodys_copy",
        "is_nobodys_build",
        "every_allowlist_has_a_pattern",
        "a_digest_is_given",
    ]


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("Python", Reason.InvalidSpec, ""),
        ("localhost/stromboli/session:u", Reason.ImageNotAllowed, "is the copy of a session"),
        ("localhost/stromboli/built:u-db", Reason.ImageNotAllowed, "was built for the stack of a session"),
        ("node:22", Reason.ImageNotAllowed, "is not allowed by AgentPolicy team, which allows python:**"),
        ("python:3.12", Reason.ImageNotAllowed, "names no digest, which AgentPolicy strict requires"),
    ],
)
@pytest.mark.parametrize("slot", [SLOT, "defaults.image of the policy"])
def test_a_refusal_names_the_slot_and_the_policy(slot: str, text: str, reason: Reason, said: str) -> None:
    under = effective(
        policy("team", images={"allowed": ["python:**"]}), policy("strict", images={"requireDigest": True})
    )
    with pytest.raises(Refused) as refused:
        admission.admit(text, under, slot)
    assert refused.value.reason is reason
    assert refused.value.message.startswith(f"{slot}: ")
    assert said in refused.value.message


def test_what_every_policy_admits() -> None:
    under = effective(policy(images={"allowed": ["**"], "requireDigest": True}))
    assert str(admission.admit(f"python@{DIGEST}", under, SLOT)) == f"docker.io/library/python@{DIGEST}"


def test_an_image_is_admitted_only_if_every_allowlist_has_a_pattern_for_it() -> None:
    image = admission.admit("python:3.12", effective(policy()), SLOT)
    for second, admitted in ((["node:**"], False), (["**"], True)):
        under = effective(policy("one", images={"allowed": ["python:**"]}), policy("two", images={"allowed": second}))
        assert admission.is_admitted(image, under) is admitted
