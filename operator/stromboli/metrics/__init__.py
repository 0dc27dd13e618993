"""What Prometheus may know of a process: every metric is defined here, for the operator and for the gateway.

Each process makes one registry of its own, so nothing here is global. Where a thing happens, the package that does it
calls a function that it was given; handlers/assembly.py and gateway/process.py give it one of these. No label has a
value of a user's: no names of runs, images, namespaces or nodes, and no path.
"""
