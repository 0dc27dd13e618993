"""Conversations read back from a session's volume, on the fake and on the real Podman.

What the real CLI writes, and what a hostile agent leaves in its place, is in test_conversations.py.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from stromboli import naming
from stromboli.errors import PodmanError
from stromboli.node import conversations
from stromboli.node.conversations import Conversation, Conversations
from stromboli.plan.redaction import KEYS, Secrets
from tests.contract.conftest import Bed

INSTALLATION = "11111111-1111-4111-8111-111111111111"
PROJECTS = f"{naming.CONFIG_DIR}/projects"


class Talk:
    """One session, whose volume has conversations in it."""

    def __init__(self, bed: Bed, folder: Path) -> None:
        self.bed = bed
        self.uid = str(uuid.uuid4())
        self._folder = folder

    async def begun(self, installation: str = INSTALLATION) -> None:
        """Create its volume."""
        labels = {naming.INSTALLATION: installation, naming.OWNER: self.uid, **self.bed.mark}
        await self.bed.podman.volumes.create(naming.volume(self.uid), labels)
        if self.bed.fake is not None:
            self.bed.fake.volume_files[naming.volume(self.uid)] = self._folder

    async def write(self, name: str, *said: str) -> None:
        """Write a conversation's file, by its path below the folder of projects."""
        lines = [json.dumps({"type": "user", "message": {"role": "user", "content": text}}) for text in said]
        content, path = "".join(f"{line}\n" for line in lines), f"{PROJECTS}/{name}"
        if self.bed.fake is not None:
            file = self._folder / path.removeprefix(f"{naming.SESSION}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            return
        volume = {"Name": naming.volume(self.uid), "Dest": naming.SESSION, "Options": ["rw"]}
        script = f"mkdir -p {path.rpartition('/')[0]}; printf %s '{content}' > {path}"
        await self.bed.ended("sh", "-ec", script, user="0:0", volumes=[volume])

    async def read(self, image: str = "", *, secrets: Secrets = KEYS) -> Conversation | None:
        found = await self.bed.podman.images.inspect(image or self.bed.image)
        given = {self.uid: secrets}
        reader = Conversations(self.bed.podman, self.bed.podman.folders, INSTALLATION, lambda uid: given[uid])
        return await reader.read(self.uid, naming.conversation(self.uid), found.id if found is not None else image)


@pytest.fixture
def talk(bed: Bed, tmp_path: Path) -> Talk:
    return Talk(bed, tmp_path)


def texts(found: Conversation | None) -> list[str]:
    assert found is not None
    return [message.text for message in found.messages]


async def test_it_has_nothing_of_what_the_runs_of_its_session_were_given(talk: Talk) -> None:
    await talk.begun()
    await talk.write(f"-a/{naming.conversation(talk.uid)}.jsonl", "the password is tell-nobody-it")
    assert texts(await talk.read(secrets=Secrets(["tell-nobody-it"]))) == ["the password is ***"]


async def test_it_is_found_among_others_whatever_its_folder_is_called(talk: Talk) -> None:
    await talk.begun()
    await talk.write(f"-a/{uuid.uuid4()}.jsonl", "another")
    await talk.write(f"-b/deeper/{naming.conversation(talk.uid)}.jsonl", "too deep")
    await talk.write(f"-b/{naming.conversation(talk.uid)}.jsonl", "one", "two")
    assert texts(await talk.read()) == ["one", "two"]


async def test_of_one_that_is_too_long_the_end_is_read(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_FILE", 100)
    await talk.begun()
    await talk.write(f"-a/{naming.conversation(talk.uid)}.jsonl", *map(str, range(10)))
    found = await talk.read()
    assert found is not None
    assert found.truncated
    assert texts(found)[-1] == "9"
    assert "0" not in texts(found)


async def test_a_session_without_a_volume_has_none(talk: Talk) -> None:
    assert await talk.read() is None


async def test_nothing_was_said_yet(talk: Talk) -> None:
    await talk.begun()
    assert await talk.read() is None
    await talk.write(f"-a/{uuid.uuid4()}.jsonl", "another")
    assert await talk.read() is None


async def test_what_belongs_to_another_installation_is_not_read(talk: Talk) -> None:
    await talk.begun(str(uuid.uuid4()))
    await talk.write(f"-a/{naming.conversation(talk.uid)}.jsonl", "secret")
    assert await talk.read() is None


async def test_without_its_image_the_message_says_what_brings_it_back(talk: Talk) -> None:
    await talk.begun()
    with pytest.raises(PodmanError, match="its next run brings it back"):
        await talk.read("0" * 64)


async def test_the_container_that_reads_it_is_removed_and_the_volume_stays(talk: Talk) -> None:
    await talk.begun()
    await talk.write(f"-a/{naming.conversation(talk.uid)}.jsonl", "one")
    await talk.read()
    left = await talk.bed.podman.containers.list({naming.INSTALLATION: INSTALLATION, naming.ROLE: naming.ROLE_READER})
    assert left == []
    volume = await talk.bed.podman.volumes.inspect(naming.volume(talk.uid))
    assert volume is not None
    assert volume.labels[naming.OWNER] == talk.uid
