"""A server by the SDK's own class, on the transport that is named."""

import base64
import sys

import anyio
from mcp.server.mcpserver import Context, Image, MCPServer
from pydantic import BaseModel

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="
server = MCPServer("sdk")
state = {"waited": "no"}


class Answer(BaseModel):
    name: str


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def authorization(context: Context) -> str:
    """Say what header came."""
    request = context.request_context.request
    return request.headers.get("authorization", "none") if request is not None else "none"


@server.tool()
async def count(to: int, context: Context) -> str:
    """Count, with progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to, f"at {number}")
    return "counted"


@server.tool()
def picture() -> Image:
    """Draw a pixel."""
    return Image(data=base64.b64decode(PIXEL), format="png")


@server.tool()
async def wait() -> str:
    """Wait until cancelled."""
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        state["waited"] = "cancelled"
        raise
    return "done"


@server.tool()
def waited() -> str:
    """Whether the wait was cancelled."""
    return state["waited"]


transport, *rest = sys.argv[1:]
if transport == "stdio":
    server.run("stdio")
else:
    server.run(transport, port=int(rest[0]))
