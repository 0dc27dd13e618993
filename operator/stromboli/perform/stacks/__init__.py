"""The stacks of runs with an environment: read, judged, their images on the node, brought up before the run starts."""
