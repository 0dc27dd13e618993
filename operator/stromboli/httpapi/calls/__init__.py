"""The routes, a module for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from stromboli.httpapi.calls import (
    auth,
    images,
    jobs,
    runs,
    secrets,
    sessions,
    stream,
    system,
)

ROUTERS: tuple[APIRouter, ...] = (
    runs.router,
    stream.router,
    jobs.router,
    images.router,
    sessions.router,
    secrets.router,
    system.router,
    auth.router,
)
