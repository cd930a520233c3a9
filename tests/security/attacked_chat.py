"""A chat's process as far as tools can tell, for attacks on it: starts the tools, runs calls, says what came of them.

Run as `python attacked_chat.py TOOLS.YAML ABI [CALL…]`, each CALL the JSON of [tool, arguments]; ABI is the version of
Landlock to pretend, or "own". Prints a line of JSON for each call, and a last one if it is unharmed.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ToolCall, ToolResult

SOCKET = f"toolchat-attacked-{os.getpid()}"


async def call(runner: ToolRunner, name: str, arguments: dict[str, object]) -> str:
    words = {"CHAT": os.getpid(), "SOCKET": SOCKET}
    arguments = {key: words.get(str(value), value) for key, value in arguments.items()}
    tool = runner.toolbox.get(name)
    assert tool is not None, runner.toolbox.names
    prepared = await runner.prepare(tool, ToolCall("abcdefghi", name, arguments))
    result = prepared if isinstance(prepared, ToolResult) else await prepared.run()
    return result.content


async def main(path: Path, *calls: str) -> None:
    path.with_name("chat.pid").write_text(str(os.getpid()))
    runner = await ToolRunner.start(path, path.with_name("tools.log"))
    print(json.dumps(runner.toolbox.notices), flush=True)
    other = path.with_name("other.pid")
    for text in calls:
        name, arguments = json.loads(text)
        if name == "attack_other":
            waiting = asyncio.create_task(call(runner, "wait_for", {"file": str(other)}))
            while not (other.exists() and other.read_text()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            print(json.dumps(await call(runner, "attack", {"pid": int(other.read_text())})), flush=True)
            other.unlink()
            print(json.dumps(await waiting), flush=True)
        else:
            print(json.dumps(await call(runner, name, arguments)), flush=True)
    await runner.close()
    print(json.dumps("unharmed"), flush=True)


if __name__ == "__main__":
    if sys.argv[2] != "own":
        from toolchat.tools.host import confine

        confine.landlock_abi = lambda: int(sys.argv[2])
    with socket.socket(socket.AF_UNIX) as listening:
        with suppress(OSError):
            listening.bind(f"\0{SOCKET}")
            listening.listen()
        asyncio.run(main(Path(sys.argv[1]), *sys.argv[3:]))
