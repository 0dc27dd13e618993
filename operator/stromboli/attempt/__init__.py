"""What one attempt at a run is on the node: its folder, its supervisor, its records.

supervisor/ the container's PID 1 · folder.py the session's folder, written by the operator · records.py what
came back, read as hostile input · removal.py taking a folder away, whatever an agent made of it · busybox.py
the binary that the supervisor runs on. What goes in and comes out, as data, is in `plan/attempt.py`.
"""
