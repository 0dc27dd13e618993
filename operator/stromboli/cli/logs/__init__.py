"""`stromboli logs`: a run's output as people read it, and how a run is followed to its end."""
