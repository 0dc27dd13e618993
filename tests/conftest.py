"""What holds for every test: hypothesis has no deadline, since a busy machine is no defect."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("stromboli", deadline=None)
settings.load_profile("stromboli")
