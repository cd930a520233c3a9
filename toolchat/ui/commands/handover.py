"""Commands that hand something over: attach an image, write the question in an editor."""

from __future__ import annotations

import asyncio

from toolchat.images.image import description
from toolchat.ui.commands.base import QUIET, Completion, Context, Outcome, say
from toolchat.ui.text.sanitize import sanitize_line
from toolchat.wire.errors import UsageError


async def image(context: Context, argument: str) -> Outcome:
    from toolchat.images.attached import read_image

    if not argument:
        raise UsageError("expected /image FILE or /image URL")
    info = context.chat.info
    if info is not None and not info.supports_images:
        raise UsageError(f"/image: the model {context.chat.model} cannot see images; /model NAME loads another")
    written = argument.strip()
    if len(written) > 1 and written[0] == written[-1] and written[0] in "\"'":
        written = written[1:-1]
    # An address may take half a minute, and a file lie on a slow disk.
    found = await asyncio.to_thread(read_image, written)
    return Outcome((say(f"{sanitize_line(found.source)} ({description(found)}) goes along.", QUIET),), attach=(found,))


async def edit(_: Context, argument: str) -> Outcome:
    return Outcome(edit=argument)


def complete_image(_: Context, text: str) -> list[Completion]:
    from toolchat.ui.file_names import paths

    return [Completion(path, "", len(text)) for path in paths(text)]
