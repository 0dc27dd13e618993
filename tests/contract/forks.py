"""What the tests of copies have in common: the code that copies, on a real Podman, and what is to be copied."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from stromboli import naming
from stromboli.attempt.site import Site
from stromboli.node.copy import Copier
from stromboli.podman import Podman
from stromboli.podman.copies import Copy
from tests.contract.conftest import Bed

LIMIT = 120.0
SECRET = "s3cr3t-5c01"
SHELL = ["/bin/busybox", "sh", "-e", "-c"]
GENERATIONS = 12
FEW = 4

# The contents of a volume or a folder, except times: type, owner, mode, links, size and content.
LISTING = """\
cd {0}
busybox find . -exec /bin/busybox sh -e -c '
  for path do
    size=; [ ! -f "$path" ] || size="$(busybox stat -c %s "$path") $(busybox md5sum < "$path")"
    [ ! -L "$path" ] || size=
    busybox stat -c "%N %F %u:%g %a %h $size" "$path"
  done
' each {{}} + | busybox sort
"""
CONVERSATION = """\
cd /v
busybox mkdir -p claude/projects/-work claude/empty x/claude plain
echo one > claude/projects/-work/1.jsonl
echo bak > claude/.credentials.json.bak
busybox ln claude/.credentials.json.bak claude/twice
echo elsewhere > x/claude/.credentials.json
echo name > 'claude/ünï cödé ☂'
echo root > plain/roots
busybox ln -s /run/stromboli/secret/credentials claude/link
busybox ln -s nowhere dangling
busybox mkfifo claude/fifo
echo p > claude/private
busybox head -c 10000000 /dev/urandom > claude/big
busybox chown -hR 1000:1000 . && busybox chown 0:0 plain plain/roots
busybox chmod 600 claude/private claude/projects/-work/1.jsonl
busybox chmod 4750 claude/twice
busybox chmod 700 .
busybox chmod 555 claude/empty
"""
# Sparse files: holes only, data at both ends and in the middle, a little data everywhere.
HOLES = """\
cd /v
busybox mkdir -p claude/deep/er
busybox truncate -s 60M claude/deep/er/empty
name='claude/ -rf "$(x)"
 ☂ *'
busybox truncate -s 40M "$name"
for at in 0 5120 10239; do
  busybox dd if=/dev/urandom of="$name" bs=4096 seek=$at count=300 conv=notrunc status=none
done
busybox ln "$name" claude/deep/-n
n=0
while [ $n -lt 64 ]; do
  echo $n | busybox dd of=claude/everywhere bs=512K seek=$n conv=notrunc status=none
  n=$((n + 1))
done
busybox truncate -s 40M claude/everywhere
busybox head -c 200000 /dev/urandom > claude/none
busybox ln claude/none claude/deep/twice
busybox chown -R 1000:1000 . && busybox chown 5:6 "$name"
busybox chmod 4750 "$name"
busybox chmod 400 claude/everywhere
busybox chmod 500 claude/deep/er
busybox touch -d '2001-02-03 04:05:06' "$name" claude/everywhere claude/deep/er claude
"""
# The mtime of each file and folder, except links, whose mtime cannot be set, and the top folder.
TIMES = "cd /v && busybox find . -mindepth 1 ! -type l -exec busybox stat -c '%n %Y' {} + | busybox sort"
CREDENTIALS = {
    "a file": "echo s3cr3t-5c01 > /v/claude/.credentials.json",
    "a link": "busybox ln -s /run/stromboli/secret/credentials.json /v/claude/.credentials.json",
    "none": "true",
}


@dataclass(frozen=True, slots=True)
class Copying:
    """The code that copies, and the Podman that it uses."""

    bed: Bed
    copier: Copier
    site: Site

    @property
    def podman(self) -> Podman:
        return self.bed.podman

    def uid(self) -> str:
        return str(uuid.uuid4())

    def labels(self, uid: str) -> dict[str, str]:
        return {**self.site.labels(naming.agent(uid), "team/fork"), **self.bed.mark}

    async def images(self) -> list[Copy]:
        """All images that copying has left."""
        return await self.podman.copies.images(self.bed.mark)


class Forks(Copying):
    """Copies of containers in which scripts have run, and of their volumes. On the real Podman only."""

    async def ended(self, image: str, script: str, **fields: object) -> tuple[str, str]:
        """Run a script in a container of the image; it has to succeed. Returns the container's ID and the output."""
        made = self.bed.body(script, image=image, entrypoint=SHELL, user="0:0", terminal=True, **fields)
        container = await self.podman.containers.create(made)
        async with asyncio.timeout(LIMIT):
            async with self.podman.containers.attached(container) as chunks:
                await self.podman.containers.start(container)
                said = b"".join([chunk async for chunk in chunks]).decode().replace("\r\n", "\n")
            code = await self.podman.containers.wait(container)
        assert code == 0, f"{script} → {code}: {said}"
        return container, said

    async def said(self, image: str, script: str, **fields: object) -> str:
        """The output of a script in a container that is removed afterwards."""
        container, said = await self.ended(image, script, **fields)
        await self.podman.containers.remove(container)
        return said

    async def written(self, script: str, **fields: object) -> str:
        """A stopped container of the configured image, in which the script has run."""
        container, _ = await self.ended(self.bed.files, script, **fields)
        return container

    async def in_volume(self, volume: str, script: str) -> str:
        return await self.said(self.bed.image, script, volumes=[{"Name": volume, "Dest": "/v", "Options": ["rw"]}])

    async def listing(self, volume: str) -> list[str]:
        return (await self.in_volume(volume, LISTING.format("/v"))).splitlines()

    async def clear(self) -> None:
        await self.bed.clear()
        for image in await self.images():
            await self.podman.copies.remove(image.id, force=True)
