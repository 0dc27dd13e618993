"""Carries out what plan/ decides, on the node and in the cluster. Decides nothing."""
