"""One connection to a server by the SDK: negotiation, listing, calls, and what a server asks of its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from toolchat.tools.mcp.tool_schemas import MOST_TOOLS

DISCOVER_SECONDS = 3.0
"""For a server to say that it speaks the newest protocol: those before 2026 need not answer the question at all."""
_MOST_PAGES = 64
_MOST_ROUNDS = 10
"""Of questions that a server may ask before it answers a call."""
NO_SAMPLING = "this chat does not let servers use its model"

Elicit = Callable[[types.ElicitRequestParams], Awaitable[types.ElicitResult]]


class Session(ClientSession):
    """The SDK's session, whose results are checked by nobody: a stranger's schema may take for ever."""

    async def validate_tool_result(self, name: str, result: types.CallToolResult) -> None:
        return None

    offers_roots = False

    def _build_capabilities(self, version: str) -> types.ClientCapabilities:
        # There are callbacks, so that what is asked all the same is answered; these are no capabilities.
        left_out = ("sampling",) if self.offers_roots else ("sampling", "roots")
        return super()._build_capabilities(version).model_copy(update=dict.fromkeys(left_out))


class Connection:
    """A session that has been opened; see `connected`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def is_modern(self) -> bool:
        return self.session.protocol_version in MODERN_PROTOCOL_VERSIONS

    def about(self) -> dict[str, Any]:
        """Name, version, protocol and capabilities, as the server says them."""
        info, capabilities = self.session.server_info, self.session.server_capabilities
        return {
            "name": info.name if info is not None else "",
            "version": info.version if info is not None else "",
            "protocol": self.session.protocol_version or "",
            "capabilities": sorted(wire(capabilities)) if capabilities is not None else [],
        }

    def has(self, capability: str) -> bool:
        return capability in self.about()["capabilities"]

    async def tools(self) -> list[dict[str, Any]]:
        """All tools as the wire has them, at most `MOST_TOOLS` + 1."""
        return await self._paged("tools", MOST_TOOLS + 1)

    async def listed(self, what: str) -> list[dict[str, Any]]:
        """Its "prompts", "resources" or "templates" of resources as the wire has them, at most `MOST_TOOLS`."""
        return await self._paged(what, MOST_TOOLS)

    async def _paged(self, what: str, most: int) -> list[dict[str, Any]]:
        ask, items = {
            "tools": (self.session.list_tools, "tools"),
            "prompts": (self.session.list_prompts, "prompts"),
            "resources": (self.session.list_resources, "resources"),
            "templates": (self.session.list_resource_templates, "resource_templates"),
        }[what]
        if not self.has("resources" if what == "templates" else what):
            return []
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_MOST_PAGES):
            page = await ask(params=types.PaginatedRequestParams(cursor=cursor))
            found += [wire(one) for one in getattr(page, items)[: most - len(found)]]
            cursor = page.next_cursor
            if cursor is None or cursor in seen or len(found) == most:
                break
            seen.add(cursor)
        return found

    async def call(
        self,
        name: str,
        arguments: dict[str, Any],
        progress: ProgressFnT,
    ) -> dict[str, Any]:
        """The result of a call, as the wire has it. Raises what the SDK raises."""
        return await self._answered(
            lambda responses, state: self.session.call_tool(
                name,
                arguments,
                progress_callback=progress,
                input_responses=responses,
                request_state=state,
                allow_input_required=True,
            )
        )

    async def prompt(self, name: str, arguments: dict[str, str]) -> dict[str, Any]:
        return await self._answered(
            lambda responses, state: self.session.get_prompt(
                name, arguments, input_responses=responses, request_state=state, allow_input_required=True
            )
        )

    async def read(self, uri: str) -> dict[str, Any]:
        return await self._answered(
            lambda responses, state: self.session.read_resource(
                uri, input_responses=responses, request_state=state, allow_input_required=True
            )
        )

    async def _answered(self, ask: Callable[[Any, str | None], Awaitable[Any]]) -> dict[str, Any]:
        """The result of a request that the server may answer with questions first (2026-07-28)."""
        responses: dict[str, Any] | None = None
        state: str | None = None
        for _ in range(_MOST_ROUNDS + 1):
            result = await ask(responses, state)
            if not isinstance(result, types.InputRequiredResult):
                return wire(result)
            responses, state = {}, result.request_state
            for key, request in (result.input_requests or {}).items():
                context = ClientRequestContext(session=self.session, request_id=key)
                answer = await self.session.dispatch_input_request(context, request)
                if isinstance(answer, types.ErrorData):
                    raise MCPError.from_error_data(answer)
                responses[key] = answer
            if not responses:
                responses = None
                await asyncio.sleep(0.1)
        raise MCPError(types.INTERNAL_ERROR, f"it asked more than {_MOST_ROUNDS} times before it answered")


def wire(model: BaseModel) -> dict[str, Any]:
    """A model of the SDK's as JSON."""
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


@asynccontextmanager
async def connected(
    streams: tuple[Any, Any],
    *,
    root: str,
    offers_roots: bool,
    version: str,
    elicit: Elicit,
    logged: Callable[[str, str], Awaitable[None]],
    changed: Callable[[str], None],
    modern: bool,
) -> AsyncIterator[Connection]:
    """A session over these streams, negotiated; without `modern` by the handshake of the protocols before 2026.

    With `offers_roots` the server is told that it may ask for `root`, the folder that the user is in.
    `logged` is given level and text of what the server logs, and `changed` is told which of its lists has changed.
    """

    async def on_elicit(context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return await elicit(params)

    async def on_sampling(context: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.ErrorData:
        await logged("info", f"it asked for the chat's model (sampling), and was declined: {NO_SAMPLING}")
        return types.ErrorData(code=types.INVALID_REQUEST, message=NO_SAMPLING)

    async def on_roots(context: ClientRequestContext) -> types.ListRootsResult:
        folder = Path(root)
        return types.ListRootsResult.model_validate({"roots": [{"uri": folder.as_uri(), "name": folder.name or root}]})

    async def on_log(params: types.LoggingMessageNotificationParams) -> None:
        text = params.data if isinstance(params.data, str) else _json(params.data)
        await logged(params.level, f"{params.logger}: {text}" if params.logger else text)

    async def on_message(message: Any) -> None:
        match message:
            case types.ToolListChangedNotification():
                changed("tools")
            case types.PromptListChangedNotification():
                changed("prompts")
            case types.ResourceListChangedNotification():
                changed("resources")

    read, write = streams
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            Session(
                read,
                write,
                sampling_callback=on_sampling,
                elicitation_callback=on_elicit,
                list_roots_callback=on_roots,
                logging_callback=on_log,
                message_handler=on_message,
                client_info=types.Implementation(name="toolchat", version=version),
                log_level="info",
            )
        )
        session.offers_roots = offers_roots
        await _negotiate(session, modern=modern)
        yield Connection(session)


async def _negotiate(session: Session, *, modern: bool) -> None:
    """Agree on a protocol: the newest where the server knows it, else by the handshake of those before."""
    if modern:
        try:
            await asyncio.wait_for(session.discover(), DISCOVER_SECONDS)
            return
        except (TimeoutError, ValidationError, RuntimeError):
            pass
        except MCPError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                raise
    try:
        await session.initialize()
    except MCPError as error:
        # Its answer to the question came too late, and fixed the newest protocol.
        if error.error.code != types.UNSUPPORTED_PROTOCOL_VERSION:
            raise
        await session.discover()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
