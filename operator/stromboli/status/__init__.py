"""What a run's state looks like on the wire: conditions, phase, patches, Kubernetes events. Pure."""
