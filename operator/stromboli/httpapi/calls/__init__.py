"""The routes, a module for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from stromboli.httpapi.calls import jobs, secrets, system

ROUTERS: tuple[APIRouter, ...] = (jobs.router, secrets.router, system.router)
