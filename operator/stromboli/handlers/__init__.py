"""Passes watch events to the queues. The only package that imports kopf; a handler only says which object changed."""
