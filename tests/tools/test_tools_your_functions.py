from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from toolchat.tools.run import ToolRunner
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

PAGE = (Path(__file__).parents[2] / "docs" / "your-functions.md").read_text()
FILES = re.compile(r"^`([\w.-]+)`[^\n]*:\n\n```(?:python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
YAML = re.compile(r"^```yaml\nversion: 1\ntools:\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.process


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        right = self.headers["Authorization"] == "Bearer shop-token-1234"
        body = json.dumps({"price": 12.5} if right else {"error": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_page_on_functions_that_people_have_holds(
    tmp_path: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = len(re.findall(r"^```(?:python|yaml|text)$", PAGE, re.MULTILINE))
    assert len(FILES.findall(PAGE)) + len(YAML.findall(PAGE)) == blocks == 9
    for name, text in FILES.findall(PAGE):
        (tmp_path / name).write_text(text)
    # One file with all of it: each block is a list of its own.
    (tmp_path / "tools.yaml").write_text("version: 1\ntools:\n" + "".join(YAML.findall(PAGE)))
    monkeypatch.setenv("SHOP_URL", shop)
    monkeypatch.setenv("SHOP_TOKEN", "shop-token-1234")

    async def play() -> None:
        runner = await ToolRunner.start(tmp_path / "tools.yaml")

        async def call(name: str, **arguments: Any) -> ToolResult:
            tool = runner.toolbox.get(name)
            assert tool is not None
            ready = await runner.prepare(tool, ToolCall("abcdefghi", name, arguments))
            return ready if isinstance(ready, ToolResult) else await ready.run()

        try:
            tools = {tool.name: tool for tool in runner.toolbox.tools}
            assert set(tools) == {
                *("summary", "price", "ledger_book", "ledger_balance", "find_note"),
                *("geometric_mean", "harmonic_mean", "mean", "gcd"),
            }
            assert (await call("summary", values=[1, 2, 6])).content == '{"mean": 3.0, "std": 2.16, "range": [1, 6]}'
            assert set(tools["price"].parameters["properties"]) == {"product"}
            assert (await call("price", product="lamp")).content == '{"price": 12.5}'
            assert any("is offered without session" in notice for notice in runner.toolbox.notices)
            assert (await call("ledger_book", amount=10, what="gift")).content == "10.0"
            assert "over the limit of 500" in (await call("ledger_book", amount=900, what="car")).content
            assert (await call("ledger_balance")).content == "10.0"
            assert (await call("find_note", word="BUY")).content == "1:buy milk\n3:buy a lamp"
            assert (await call("find_note", word="--help; id")).status is ResultStatus.ERROR
            assert (await call("mean", data=[1, 2, 6])).content == "3"
        finally:
            await runner.close()

    asyncio.run(play())
