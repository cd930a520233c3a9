"""Chats that are summed up, as `/compact` asks for it, and chats that go on behind a summary.

A summary says of each question what was asked and what came of it, in that order and in the words of the chat: that is
what so small a model can keep true.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import values
from exchanges import Exchange

from toolchat.chat.compaction import request
from toolchat.chat.conversation import SUMMED_UP

REQUEST_SHARE = 0.7
"""Of summaries, how many are asked for in the words of `/compact`; the others in a user's own."""
KEEP_SHARE = 0.3
"""Of those of `/compact`, how many name something that is to be kept."""
OWN_WORDS = (
    "Sum up our conversation.",
    "What have we talked about so far?",
    "Give me a summary of this chat.",
    "summarize our chat please",
    "Summarise what we have said.",
    "Can you recap this conversation?",
    "What did I ask you so far?",
)
KEPT = (
    "my name is {f}",
    "the meeting is at {T}",
    "the deadline is {D}",
    "I live in {c}",
    "the file is {file}",
    "my budget is {$}",
    "I am allergic to {food}",
    "the order number is {k}",
    "{f} comes on {D}",
    "I want to go to {c}",
    "answers in {lang}",
)
LONGEST = 160
"""Characters of an answer that is told as it was; of a longer one its first sentence is."""


def told(exchange: Exchange) -> str:
    """What came of a question; with the question itself where it was more than talk."""
    question = _ended(exchange.question)
    if not exchange.calls and " tool" in exchange.say:
        return f"No tool could do this: {question}"
    if any(call["name"] == "list_files" for call in exchange.calls) and "```" in exchange.say:
        return f"The user asked: {question} The files were listed."
    if "```" in exchange.say:
        return f"Code was written: {question}"
    said = " ".join(exchange.say.split())
    if len(said) > LONGEST and ". " in said:
        said = said[: said.index(". ") + 1]
    return f"The user asked: {question} {_ended(said)}" if exchange.calls else _ended(said)


def _ended(text: str) -> str:
    """In one line that ends as a sentence does."""
    line = " ".join(text.split())
    return line if line[-1] in ".?!" else f"{line}."


def summary(before: str, rows: Sequence[Exchange]) -> str:
    """Of a chat that began with the summary `before`, if it did, and then had `rows`."""
    return " ".join([*([before] if before else []), *map(told, rows)])


def asked(before: str, rows: Sequence[Exchange], rng: random.Random) -> Exchange:
    """The question for a summary, and the summary."""
    text = summary(before, rows)
    if rng.random() > REQUEST_SHARE:
        return Exchange(rng.choice(OWN_WORDS), text)
    if rng.random() > KEEP_SHARE:
        return Exchange(request(), text)
    kept = values.filled(rng.choice(KEPT), rng)
    return Exchange(request(kept), f"{text} Keep in mind: {kept}.")


def standing_for(text: str) -> list[dict[str, Any]]:
    """The turn that a summary makes of those that it stands for. It is given, not learned."""
    return [{"user": SUMMED_UP}, {"given": text}]
