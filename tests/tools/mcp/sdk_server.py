"""A server by the SDK's own class, on the transport that is named."""

import base64
import sys

import anyio
import uvicorn
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
    state["waited"] = "waiting"
    try:
        await anyio.sleep(60)
    except anyio.get_cancelled_exc_class():
        state["waited"] = "cancelled"
        raise
    return "done"


@server.tool()
def waited() -> str:
    """What the last wait came to."""
    return state["waited"]


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    # Both transports at one port.
    application = server.streamable_http_app()
    application.routes.extend(server.sse_app().routes)
    uvicorn.run(application, port=int(sys.argv[2]), log_level="warning")
