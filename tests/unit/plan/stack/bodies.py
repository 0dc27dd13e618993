"""A service with everything that is looked up for it, for tests."""

from __future__ import annotations

from typing import Any

from stromboli.compose.stack import Service
from stromboli.plan.limits import Limits
from stromboli.plan.stack import mounts, names, supervision
from stromboli.plan.stack.body import Body, Resolved, body
from stromboli.plan.stack.image import Image
from stromboli.plan.stack.limits import resources
from stromboli.plan.stack.mounts import Found
from stromboli.plan.stack.networking import networking
from tests.unit.plan.stack.stacks import stack

UID = "7f1c2c2e-0000-4000-8000-000000000001"
LABELS = {"stromboli.dev/installation": "i", "stromboli.dev/owner": UID, "stromboli.dev/role": "svc-db"}
IMAGE = Image(
    "f00d",
    user="postgres",
    env={"PATH": "/bin", "PGDATA": "/data", "LANG": "C"},
    entrypoint=("/entry",),
    command=("postgres",),
    workdir="/work",
    stop_signal="SIGINT",
    volumes=("/data",),
)
FOUND = Found(paths={"/srv/app": "/data/app"}, images={"tools:1": "beef"}, secrets={"/run/secrets/pw": "/home/op/pw"})
NODE = {"nofile": 4096, "nproc": -1, "memlock": 65536}


def resolved(one: Service, image: Image = IMAGE, ceilings: Limits | None = None) -> Resolved:
    return Resolved(
        service=one,
        image=image,
        mounts=mounts.resolve(UID, one, image.volumes, FOUND),
        network=networking(UID, stack(one), publish=True, node="10.89.0.1").services[one.name],
        resources=resources(one, ceilings or Limits()),
        supervision=supervision.of(one, image, one_shot=False),
        ulimits=NODE,
    )


def body_of(one: Service, image: Image = IMAGE, **fields: Any) -> Body:
    return body(resolved(one, image), name=names.container(UID, one.name).name, labels=LABELS)
