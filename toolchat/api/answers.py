"""What a program is given: answers, calls, requests for calls that it decides on, and messages in the API's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from toolchat.wire.deltas import Usage
from toolchat.wire.errors import ExitCode, ToolchatError, UsageError
from toolchat.wire.events import TurnStatus
from toolchat.wire.messages import Image, ToolCall

if TYPE_CHECKING:
    from toolchat.store.transcript import CallStory, TurnStory

E = TypeVar("E", bound=BaseException)

_NOT_FLAGS = {"--image": "images", "--yes": 'approve="allow"', "--no-store": "store=False", "--no-tools": "tools=[]"}


def worded(text: str) -> str:
    """What toolchat says of its flags, in the words of the API."""
    from toolchat.settings import SETTINGS

    known = {setting.flag: name for name, setting in SETTINGS.items()} | _NOT_FLAGS
    return re.sub(r"--[a-z][a-z-]*[a-z]", lambda match: known.get(match[0], match[0]), text)


def worded_error(error: E) -> E:
    """The same error, with its message so."""
    if isinstance(error, ToolchatError) and len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (worded(error.args[0]),)
    return error


@dataclass(frozen=True, slots=True)
class CallRequest:
    """A call that the model asks for, as `approve` is given it. As a text it is one line that is safe to print."""

    name: str
    arguments: dict[str, Any]
    """As the function will be given them, but as JSON values."""
    description: str
    """What the model was told that the function does."""

    def __str__(self) -> str:
        from toolchat.ui.calls import call_text

        return call_text(ToolCall("", self.name, self.arguments))


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a turn, with what became of it."""

    name: str
    arguments: dict[str, Any] | None
    """None where the model's text was no call that could be read."""
    result: str
    """What the model was told."""
    status: str
    """One of "ok", "error", "timeout", "interrupted", "denied"."""
    seconds: float
    """That it ran."""
    mark: str
    """How it came to be well-formed: "constrained", "parsed", "repaired", "edited", or "malformed"."""
    output: str = ""
    """What the function said to the user while it ran."""
    images: tuple[Image, ...] = ()
    """Those that the function returned."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question came to. A notebook shows it as Markdown."""

    text: str
    """What the model said behind its last call. As the model wrote it: not safe for a terminal's control codes."""
    thinking: str
    calls: tuple[Call, ...]
    usage: Usage
    status: TurnStatus
    """"answered"; "truncated" at `max_tokens`; "limit"; "interrupted"."""
    declined: bool
    """Whether a call was not allowed to run."""
    model: str
    notices: tuple[str, ...]
    """What a person should know of the turn, a line each."""
    seconds: float
    """From the question to the end, without the loading of the model."""
    turn: int = field(repr=False)
    """Its number in the session, from 1."""

    def __str__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        """For a notebook, which runs what HTML in Markdown says, and fetches images: neither is left of the model's."""
        return safe_markdown(self.text)


class AnswerError(ToolchatError):
    """The answer is not of the schema: it was cut off, say. `answer` has what there is."""

    exit_code = ExitCode.TRUNCATED

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


_UNSAFE = re.compile(
    r"<[A-Za-z/!?]|!\[|&#?\w+;|[A-Za-z]\s*\\?:(?!\s)(?<!\bhttp:)(?<!\bhttps:)(?<!\bmailto:)", re.IGNORECASE
)
"""HTML, images, and what could be the scheme of an address that does something."""


def safe_markdown(text: str) -> str:
    """Markdown of which nothing runs and nothing is fetched where it is shown in a notebook.

    What could is shown as text. Where there is such a thing the whole is rendered here: two readers of Markdown never
    agree wholly on what is code, and so on what may stand as it is.
    """
    from toolchat.ui.text.sanitize import sanitize

    if _UNSAFE.search(text) is None:
        return sanitize(text)
    from toolchat.ui.export import markdown_html

    # A blank line would end the HTML, and what follows be read as Markdown again.
    return re.sub(r"\n[ \t]*(?=\n)", "\n<!-- -->", markdown_html(text))


def answer_of(story: TurnStory) -> Answer:
    return Answer(
        story.answer,
        story.thinking,
        tuple(map(_call, story.calls)),
        story.usage,
        story.status,
        story.declined,
        story.model,
        tuple(map(worded, story.notices)),
        max(0.0, story.ended - story.began),
        story.number,
    )


def _call(story: CallStory) -> Call:
    call, result = story.call, story.result
    return Call(
        call.name,
        call.arguments if isinstance(call, ToolCall) else None,
        result.content if result is not None else "",
        story.status,
        result.seconds if result is not None else 0.0,
        story.mark,
        story.output,
        result.images if result is not None else (),
    )


@dataclass(frozen=True, slots=True)
class Schema:
    """What an answer is held to, and how it is read."""

    json: dict[str, Any]
    read: Callable[[str], Any]

    @classmethod
    def of(cls, given: Any) -> Schema:
        import json

        if isinstance(given, Mapping):
            return cls(dict(given), json.loads)
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            adapter: TypeAdapter[Any] = TypeAdapter(given)
            return cls(adapter.json_schema(), adapter.validate_json)
        except (PydanticUserError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"schema: expected a pydantic model, another type, or a dictionary with a JSON Schema ({reason})"
            ) from None

    def value(self, answer: Answer) -> Any:
        """Raises AnswerError."""
        from pydantic import ValidationError

        if answer.status is not TurnStatus.ANSWERED:
            how = {"truncated": "was cut off at max_tokens", "limit": "was not given: a limit was reached"}
            what = how.get(answer.status.value, f"is {answer.status.value}")
            raise AnswerError(f"the answer {what}, so that it is not of the schema", answer)
        try:
            return self.read(answer.text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise AnswerError(f"the answer does not fit the schema: {where}: {first['msg']}", answer) from None
        except (ValueError, RecursionError):
            raise AnswerError("the answer is not JSON: the engine did not hold it to the schema", answer) from None
