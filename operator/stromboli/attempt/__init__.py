"""What one attempt at a run is on the node: its folder, its supervisor, its records.

supervisor/ the container's PID 1 · folder.py the session's folder, written by the operator · records.py reads the
results, as hostile input · seals.py whether it was started, and its prompt sent · removal.py removes folders that an
agent could write in · busybox.py the binary that runs the supervisor · containers.py the containers of the attempt's
session. The data types are in `plan/attempt.py`.
"""
