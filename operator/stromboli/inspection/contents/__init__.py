"""Finds out what is in an image: its operating system, and which tools it has, with their versions.

image.py the entry, `image_contents` · osrelease.py os-release(5) · databases.py what packages say, of dpkg.py, apk.py
(both are text: paragraphs.py) and rpm/ · commands.py the programs that no package brought · runtimes.py their versions
by files of their own · variables.py what the image's environment says. Which evidence counts, and which package is
which tool, is pure and in `plan/contents.py` and `plan/packages.py`.

All of it is hostile input: every read is bounded, nothing is recursive, and links are resolved by the opener, inside
the image only.
"""

from stromboli.inspection.contents.image import image_contents

__all__ = ["image_contents"]
