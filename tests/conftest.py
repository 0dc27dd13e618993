"""What holds for every test: hypothesis has no deadline, since a busy machine is no defect.

The control plane is here, so that all folders' tests that a process runs share one.
"""

from __future__ import annotations

from hypothesis import settings

from tests.support.cluster import admin as admin
from tests.support.cluster import cluster as cluster
from tests.support.cluster import kubectl as kubectl
from tests.support.cluster import own as own
from tests.support.cluster import programs as programs

settings.register_profile("stromboli", deadline=None)
settings.load_profile("stromboli")
