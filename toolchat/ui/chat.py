"""What the terminal needs of a chat: the one border between what a person sees and how a session is put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toolchat.engine.base import EngineInfo
from toolchat.tools.toolbox import Approval, Tool, Toolbox
from toolchat.wire.events import TurnFinished
from toolchat.wire.messages import Image, ToolResult, UserMessage


class Chat(Protocol):
    """A session, as the REPL and its commands see it. Edits of the history are for between turns."""

    @property
    def model(self) -> str:
        """The model's name, for people."""

    @property
    def info(self) -> EngineInfo | None:
        """None while no engine is ready."""

    @property
    def loading(self) -> bool:
        """True while an engine is being loaded; without that and without `info`, `launch` is called for."""

    @property
    def toolbox(self) -> Toolbox:
        """All tools of the file, those that are switched off among them."""

    @property
    def switched_off(self) -> frozenset[str]:
        """Names of the tools that the model is not offered."""

    def approval(self, tool: Tool) -> Approval:
        """What becomes of the tool's calls, by the tools file, the command line and what the user has granted."""

    @property
    def system(self) -> str | None:
        """The system prompt."""

    @property
    def used_tokens(self) -> int:
        """Exact tokens of the context that the conversation takes, as the engine last counted them; 0 before that."""

    @property
    def turns(self) -> int:
        """Turns that the conversation holds."""

    @property
    def last_answer(self) -> str:
        """The model's text of the last turn; empty where there is none."""

    @property
    def last_results(self) -> Sequence[ToolResult]:
        """The results of the last turn that had any, in call order, each in full."""

    async def launch(self) -> None:
        """Start the engine, or start it again, and go on while it loads."""

    async def ready(self) -> None:
        """Wait until the engine is loaded. Raises EngineError where it cannot be."""

    async def ask(self, text: str, images: Sequence[Image] = ()) -> TurnFinished:
        """One turn. Raises EngineError where the engine refuses it; the conversation is then as it was."""

    @property
    def can_retry_round(self) -> bool:
        """Whether the engine's failure ended the last turn behind the results of calls."""

    async def retry_round(self) -> TurnFinished:
        """Go on with that turn, with the results that are there: the calls are not made again."""

    def interrupt(self) -> None:
        """Stop the turn under way; `ask` then returns soon. Calling it again changes nothing."""

    async def settled(self) -> None:
        """Wait until the engine answers again after an interrupt, or is gone: see `kill` for one that does not."""

    def kill(self) -> None:
        """End an engine that does not answer, at once; the turn ends as after a crash, and `launch` starts anew."""

    def undo(self) -> UserMessage | None:
        """Take the last turn back; its question, or None where there is no turn."""

    def clear(self) -> None:
        """Forget every turn; the system prompt stays."""

    def set_system(self, text: str | None) -> None:
        """From the next turn on."""

    def switch_tool(self, name: str, on: bool) -> None:
        """Offer a tool to the model, or do not. Raises UsageError for a name that there is not."""

    async def reload_tools(self) -> None:
        """Read the tools file and the functions' code again. Raises UsageError; the tools are then as they were."""

    async def change_model(self, name: str) -> None:
        """Load another model and keep the conversation; returns once it loads.

        Raises UsageError or EngineError where it cannot be found; the old model then stays.
        """
