"""A relay for agents that have no network: from a socket of this machine to the Messages API, and nowhere else."""
