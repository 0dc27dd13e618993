"""The routes, a module for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from stromboli.httpapi.calls import secrets, system

ROUTERS: tuple[APIRouter, ...] = (secrets.router, system.router)
