"""What an image can run, found by looking at its files. Nothing of an image is ever executed to find out.

opener.py how files of an image are reached · container.py the same over Podman · root.py what stands in a root that
is mounted on the node · startfiles.py what Podman itself reads of a root · elf.py bytes → facts · needs.py what the
CLI asks for · search.py where a loader would find a library · libc.py which C library is there · passwd.py who the
image's user is · look.py all of it, as one `ImageFacts` · cache.py the same, remembered by image id. The verdict over
the facts is pure and lies in `plan/compatibility.py`.
"""
