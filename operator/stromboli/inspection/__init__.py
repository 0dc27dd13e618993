"""Finds out what an image can run by inspecting its files. Nothing from the image is executed.

opener.py the interface to an image's files · container.py its implementation over Podman · root.py a root that is
mounted on the node · openfile.py a file that is open for reading · startfiles.py the files that Podman itself reads in
a root · needs.py what the CLI's binary requires · search.py where a loader would find a library · libc.py which C
library an image has · passwd.py the image's user · configuration.py the image's configuration of the CLI · facts.py
libc, shell, CLI and user as one `ImageFacts` · cache.py the facts, cached by image id · contents/ the operating system
and the tools in an image, for display. The verdict on the facts is pure and is in `plan/compatibility.py`.
"""
