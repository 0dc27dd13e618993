"""The routes, a module for each subject."""

from __future__ import annotations

from fastapi import APIRouter

from stromboli.httpapi.calls import system

ROUTERS: tuple[APIRouter, ...] = (system.router,)
