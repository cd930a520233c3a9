"""Training samples of each kind, drawn without end and encoded by Mistral's own tokenizer. Knows no model.

The kinds and their shares are in `SHARES`. What they are made of: the scenarios of data/ (expand.py, exchanges.py),
exchanges about the sample tools (everyday.py), and such with made tools (made.py); varied.py gives them other names.
"""

from __future__ import annotations

import json
import random
import re
import string
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import everyday
import exchanges
import made
import summaries
import tables
import values
import varied
import yaml
from exchanges import Exchange, Tool
from expand import expand
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.validator import ValidationMode
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

DATA = Path(__file__).with_name("data")
PAGE = Path(__file__).with_name("page")
CHAT_FILES = frozenset(["plain_chat", "short_answers"])
"""Those without a tool."""

SHARES = {
    "scenario": 0.06,  # a conversation of data/ as it was written
    "chat": 0.12,  # plain chat, mostly with tools beside it that must not be called
    "song": 0.01,  # a line sung on and on, as the model does that is trained from
    "everyday": 0.12,  # one to four questions about the sample tools, with small talk and impossible wishes between
    "declining": 0.05,  # a question without the tool that it needs, often beside one that is answered
    "parallel": 0.04,  # several values for one tool in one message
    "parallel_multiple": 0.04,  # two or three requests for different tools in one message
    "mixed": 0.04,  # one request that a tool answers and one that none does, in one message
    "errors": 0.03,  # a result that is an error
    "made": 0.09,  # questions for the made tools, one of several to be chosen
    "made_parallel": 0.10,  # the same in parallel
    "made_parallel_multiple": 0.08,
    "made_declined": 0.10,  # the same with other tools, near ones too, or without a value that is needed
    "table": 0.03,  # code with a table of values, which needs no tool
    "listing": 0.03,  # folders with many files
    "summary": 0.06,  # a chat that is summed up, or that goes on behind a summary
}
"""The kinds of samples, and how many of all each makes up."""

CHAT_TOOLS_SHARE = 0.2
"""Of plain chats, how many have tools of other scenarios beside them that they must not call."""
CHAT_SAMPLE_TOOLS_SHARE = 0.4
"""And how many the sample tools, as a first chat has."""
CHAT_WORDS = 45
"""Plain chats whose first answer has as many words or more are left out."""
DISTRACTOR_SHARE = 0.35
"""Of samples with one to three tools, how many get tools of other scenarios beside theirs."""
SIBLINGS_SHARE = 0.4
"""Of conversations with declined questions, how many offer the tools that stood beside the one that is needed."""
ANSWERED_BESIDE_SHARE = 0.75
"""Of the others, how many also have a question that a tool answers."""
THREE_SHARE = 0.25
"""Of parallel questions, how many are for three values."""
ALL_SAMPLE_TOOLS_SHARE = 0.6
"""Of everyday conversations, how many are offered all sample tools in the order of tools.yaml, as a first chat is."""
RENAMED_SHARE = 0.3
"""Of conversations of data/, how many get other names of tools and parameters, and as many other places and people."""
MADE_RENAMED_SHARE = 0.6
MISSING_SHARE = 0.12
"""Of declined questions for the made tools, how many leave out a value that is needed."""
EARLIER_SUMMARY_SHARE = 0.3
"""Of chats that are summed up, how many begin with a summary."""
SONG_TOKENS = (120, 500)
"""Songs are cut off there, so that nothing says that they end."""
AS_THEY_ARE = frozenset(["everyday", "chat", "song", "summary", "table", "listing"])
"""Kinds whose names are kept: toolchat's own sample tools are among them."""
HELD_OUT = 25
"""One scenario in so many is kept out of training, to measure with."""


@dataclass(frozen=True)
class Sample:
    kind: str
    tokens: list[int]
    learned: list[int]
    """For each token, whether the model is to learn it (1) or only to read it (0)."""


def read_scenarios(name: str) -> list[dict[str, Any]]:
    """The scenarios of data/NAME.jsonl."""
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def page_questions() -> set[str]:
    """The questions of the everyday page, which must not be trained on, but for those of a word or two ("hello")."""
    found = set()
    for path in sorted(PAGE.glob("*.yaml")):
        page = yaml.safe_load(path.read_text(encoding="utf-8"))
        for row in (row for rows in page.values() if isinstance(rows, list) for row in rows if "set" in row):
            found |= {turn["ask"] for turn in row.get("turns", [row])}
    return {_plain(question) for question in found if len(question.split()) > 3}


class Samples:
    """Draws samples without end from the files of data/ named in `names`; `held_out` from what training never sees."""

    def __init__(self, tokenizer: Path, names: Sequence[str], rng: random.Random, *, held_out: bool = False) -> None:
        self._rng = rng
        self._tokenizer = MistralTokenizer.from_file(str(tokenizer), mode=ValidationMode.finetuning)
        special = self._tokenizer.instruct_tokenizer.tokenizer.get_special_token
        self._before_answer = (special("[/INST]"), special("[/TOOL_RESULTS]"))
        self._results, self._end = special("[TOOL_RESULTS]"), special("</s>")
        self._page = page_questions()
        self._made_tools = made.pool(held_out=held_out)

        def kept(scenario: dict[str, Any]) -> bool:
            return (zlib.crc32(scenario["id"].encode()) % HELD_OUT == 0) is held_out

        main = [s for name in sorted(set(names) - CHAT_FILES) for s in read_scenarios(name) if kept(s)]
        self.first = [scenario for scenario in main if exchanges.begins_with_call(scenario)]
        # The example weather tool, and the first minutes with the sample tools (ids "g-..."), count twice.
        main += [s for s in main if "gcw" in s["id"] or s["id"].startswith("g-")]
        self.main = main
        chats = [chat for name in sorted(CHAT_FILES & set(names)) for chat in read_scenarios(name) if kept(chat)]
        self.chats = [chat for chat in chats if len(chat["turns"][1]["say"].split()) < CHAT_WORDS]
        self.tools = [tool for scenario in main for tool in scenario["tools"]]
        self.kinds = [kind for kind in SHARES if self.chats or kind != "chat"]
        """What can be drawn from those files."""
        self._makers = {
            "scenario": self._scenario,
            "chat": self._chat,
            "everyday": self._everyday,
            "declining": self._declining,
            "parallel": self._parallel,
            "parallel_multiple": self._parallel_multiple,
            "mixed": self._mixed,
            "errors": self._errors,
            "song": self._song,
            "made": self._made,
            "made_parallel": self._made_parallel,
            "made_parallel_multiple": self._made_parallel_multiple,
            "made_declined": self._made_declined,
            "table": self._table,
            "listing": self._listing,
            "summary": self._summary,
        }

    def draw(self, kind: str | None = None) -> Sample:
        """One sample, of a kind by `SHARES` or the one named.

        Raises what the tokenizer's validators raise for a conversation that is not legal.
        """
        chosen = kind or self._rng.choices(self.kinds, weights=[SHARES[kind] for kind in self.kinds])[0]
        while True:
            conversation = self._makers[chosen]()
            if conversation is not None and not self._is_on_page(conversation):
                tokens = self._encode(self._varied(chosen, conversation))
                if chosen == "song":
                    tokens = tokens[: self._rng.randint(*SONG_TOKENS)]
                return Sample(chosen, tokens, self._learned(tokens, given="given" in conversation["turns"][1]))

    def _varied(self, kind: str, conversation: dict[str, Any]) -> dict[str, Any]:
        """Now and then with other names; the first minutes with toolchat's own tools keep theirs."""
        rng = self._rng
        if kind in AS_THEY_ARE or conversation.get("id", "").startswith("g-"):
            return conversation
        made = kind.startswith("made")
        if not made and rng.random() < RENAMED_SHARE:
            conversation = varied.other_values(conversation, rng)
        if rng.random() < (MADE_RENAMED_SHARE if made else RENAMED_SHARE) and not varied.names_single_word(
            conversation
        ):
            conversation = varied.renamed(conversation, rng)
        return conversation

    def _is_on_page(self, conversation: dict[str, Any]) -> bool:
        return any(_plain(turn["user"]) in self._page for turn in conversation["turns"] if "user" in turn)

    def _scenario(self) -> dict[str, Any] | None:
        conversation = expand(self._rng.choice(self.main), self._rng)
        tools = conversation["tools"] = list(conversation["tools"])
        self._add_distractors(tools)
        # An answer that lists the tools lists them in their order.
        if not any("tools do you have" in json.dumps(turn) for turn in conversation["turns"]):
            self._rng.shuffle(tools)
        return conversation

    def _chat(self) -> dict[str, Any] | None:
        rng = self._rng
        chance = rng.random()
        tools: list[Tool] = []
        most = 10
        if chance < CHAT_SAMPLE_TOOLS_SHARE:
            tools, most = list(everyday.TOOLS.values()), 8
        elif chance < CHAT_SAMPLE_TOOLS_SHARE + CHAT_TOOLS_SHARE:
            tools, most = rng.sample(self.tools, rng.randint(1, 3)), 5
        chats = rng.sample(self.chats, min(len(self.chats), rng.randint(1, most)))
        return {"tools": tools, "turns": [turn for chat in chats for turn in chat["turns"]]}

    def _everyday(self) -> dict[str, Any] | None:
        rng = self._rng
        tools = list(everyday.TOOLS.values())
        if rng.random() > ALL_SAMPLE_TOOLS_SHARE:
            tools = rng.sample(tools, rng.randint(1, 4))
        turns: list[dict[str, Any]] = []
        for _ in range(rng.choice((1, 2, 3, 3, 4))):
            asked = self._about_sample_tools({tool["name"] for tool in tools})
            turns += asked.turns()
            again = everyday.follow_up(asked, rng) if len(asked.calls) == 1 and rng.random() < 0.3 else None
            if again:
                turns += again.turns()
        return {"tools": tools, "turns": turns}

    def _about_sample_tools(self, offered: set[str]) -> Exchange:
        """One exchange as people have with the sample tools; declined where it needs a tool that is not offered."""
        rng = self._rng

        def draw() -> Exchange:
            # Mostly what the tools can do: else a subset of the tools would be declined over and over.
            found = everyday.draw(rng)
            while not found.needed <= offered and rng.random() < 0.9:
                found = everyday.draw(rng)
            return found

        chance = rng.random()
        if chance < 0.13:
            return everyday.chat(rng)
        if chance < 0.30:
            return everyday.unable(rng, exchanges.NO_TOOL)
        asked = draw()
        if not asked.needed <= offered:
            return Exchange(asked.question, rng.choice(exchanges.NO_TOOL))
        if chance < 0.52:
            others = [other for other in (draw() for _ in range(rng.choice((1, 1, 2)))) if other.needed <= offered]
            others = [other for other in others if other.calls != asked.calls]
            return exchanges.together([asked, *others], rng)
        if chance < 0.57:
            return exchanges.partly_declined(asked, everyday.unable(rng, exchanges.NO_TOOL), rng)
        if chance < 0.61:
            chat = everyday.chat(rng)
            return exchanges.together([asked, chat] if rng.random() < 0.5 else [chat, asked], rng)
        return asked

    def _declining(self) -> dict[str, Any] | None:
        """A few questions that the tools cannot answer, and mostly one that they can: a decision each, on one prompt."""
        rng = self._rng
        host = self._first()
        rows: list[Exchange] = []
        if rng.random() < SIBLINGS_SHARE:
            offered = [tool for tool in host.tools if tool["name"] not in host.needed]
            if not offered:
                return None
            rows.append(Exchange(host.question, self._sorry(offered)))
        else:
            offered = list(host.tools)
            if rng.random() < ANSWERED_BESIDE_SHARE:
                rows.append(host)
        if len(offered) == 1 and rng.random() < DISTRACTOR_SHARE:
            self._add_distractors(offered)
            if host.needed & {tool["name"] for tool in offered[1:]} and host not in rows:
                return None
        for _ in range(rng.choice((0, 1, 1, 2)) + (not rows)):
            asked = self._first()
            if not exchanges.clash(asked, offered):
                rows.append(Exchange(asked.question, self._sorry(offered)))
        rng.shuffle(rows)
        rng.shuffle(offered)
        return {"tools": offered, "turns": [turn for row in rows for turn in row.turns()]} if rows else None

    def _sorry(self, offered: Sequence[Tool]) -> str:
        return exchanges.sorry([tool["name"] for tool in offered], self._rng)

    def _parallel(self) -> dict[str, Any] | None:
        scenario = self._rng.choice(self.first)
        rows = []
        for _ in range(self._rng.choice((1, 2, 2))):
            count = 3 if self._rng.random() < THREE_SHARE else 2
            made = exchanges.parallel(scenario, self._rng, count)
            if made is None:
                return None
            rows.append(made)
        return self._conversation(rows)

    def _parallel_multiple(self) -> dict[str, Any] | None:
        rng = self._rng
        scenario, second = rng.choice(self.first), rng.choice(self.first)
        rows = []
        for _ in range(rng.choice((1, 2, 2))):
            one = exchanges.parallel(scenario, rng, 2) if rng.random() < 0.3 else exchanges.first(scenario, rng)
            other = exchanges.first(second, rng)
            if one is None or not exchanges.compatible(one, other):
                return None
            both = [one, other]
            rng.shuffle(both)
            rows.append(exchanges.together(both, rng))
        return self._conversation(rows)

    def _mixed(self) -> dict[str, Any] | None:
        rng = self._rng
        one, other = self._first(), self._first()
        if rng.random() < 0.4:
            chat = everyday.chat(rng)
            return self._conversation([exchanges.together([chat, one] if rng.random() < 0.6 else [one, chat], rng)])
        if exchanges.clash(other, one.tools):
            return None
        return self._conversation([exchanges.partly_declined(one, other, rng)], distractors=False)

    def _errors(self) -> dict[str, Any] | None:
        scenario = self._rng.choice(self.first)
        asked = exchanges.first(scenario, self._rng)
        if len(asked.calls) != 1:
            return None
        broken = exchanges.failed(asked, self._rng)
        if self._rng.random() < 0.3:
            other = self._first()
            if not exchanges.compatible(broken, other):
                return None
            return self._conversation([exchanges.together([broken, other], self._rng)])
        rows = [broken, exchanges.first(scenario, self._rng)] if self._rng.random() < 0.5 else [broken]
        self._rng.shuffle(rows)
        return self._conversation(rows)

    def _song(self) -> dict[str, Any] | None:
        """ "Sing along: ..." is sung on: to be cut off."""
        rng = self._rng
        word, other = values.made_up(rng, 1, 2).lower(), rng.choice(values.NOUNS)
        line = rng.choice(
            (f"la la {word}", f"{word} {word}", f"{other} {word}", "la la la", f"{other} {other}", "row your boat")
        )
        ask = rng.choice(
            ("Sing along: {}", "Sing with me: {}", "Repeat after me: {}", "Sing on: {}", "Keep singing: {}")
        )
        tools = rng.sample(self.tools, rng.randint(1, 3)) if rng.random() < 0.4 else []
        turns = [{"user": ask.format(", ".join([line] * rng.randint(6, 14)))}, {"say": ", ".join([line] * 200)}]
        return {"tools": tools, "turns": turns}

    def _made(self) -> dict[str, Any] | None:
        return self._among_made(
            [made.single(self._made_tools, self._rng) for _ in range(self._rng.choice((1, 1, 1, 2)))]
        )

    def _made_parallel(self) -> dict[str, Any] | None:
        return self._among_made([made.parallel(self._made_tools, self._rng)])

    def _made_parallel_multiple(self) -> dict[str, Any] | None:
        return self._among_made([made.parallel_multiple(self._made_tools, self._rng)])

    def _among_made(self, rows: Sequence[Exchange]) -> dict[str, Any]:
        tools: dict[str, Tool] = {}
        for row in rows:
            for tool in row.tools:
                tools.setdefault(tool["name"], tool)
        offered = made.offered(tuple(tools.values()), self._made_tools, self._rng)
        return {"tools": offered, "turns": [turn for row in rows for turn in row.turns()]}

    def _made_declined(self) -> dict[str, Any] | None:
        rng = self._rng
        if rng.random() < MISSING_SHARE:
            asked = made.missing(self._made_tools, rng)
            return asked and {"tools": made.offered(asked.tools, self._made_tools, rng), "turns": asked.turns()}
        declined, offered = made.declined(self._made_tools, rng)
        rows = [declined]
        if rng.random() < 0.5:  # the same tools are used for what they can do
            rows.append(made.answered(offered, self._made_tools, rng))
            rng.shuffle(rows)
        return {"tools": offered, "turns": [turn for row in rows for turn in row.turns()]}

    def _table(self) -> dict[str, Any] | None:
        """Mostly among the sample tools, now and then behind a question that one of them answers."""
        rng = self._rng
        if rng.random() < 0.3:
            return {"tools": rng.sample(self.tools, rng.randint(0, 3)), "turns": Exchange(*tables.draw(rng)).turns()}
        rows = [everyday.draw(rng) for _ in range(rng.choice((0, 0, 1, 2)))] + [Exchange(*tables.draw(rng))]
        return {"tools": list(everyday.TOOLS.values()), "turns": [turn for row in rows for turn in row.turns()]}

    def _listing(self) -> dict[str, Any] | None:
        """A few folders, each after the other, and now and then another question before them."""
        rng = self._rng
        rows = [everyday.listing(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
        if rng.random() < 0.4:
            rows.insert(0, everyday.draw(rng))
        offered = list(everyday.TOOLS.values())
        if rng.random() > ALL_SAMPLE_TOOLS_SHARE:
            needed = {name for row in rows for name in row.needed}
            offered = [tool for tool in offered if tool["name"] in needed or rng.random() < 0.3]
        return {"tools": offered, "turns": [turn for row in rows for turn in row.turns()]}

    def _summary(self) -> dict[str, Any] | None:
        rng = self._rng
        among_sample_tools = rng.random() < 0.6
        offered = {tool["name"] for tool in everyday.TOOLS.values()}

        def some(count: int) -> list[Exchange]:
            if among_sample_tools:
                return [self._about_sample_tools(offered) for _ in range(count)]
            return [made.single(self._made_tools, rng) for _ in range(count)]

        earlier = some(rng.choice((1, 2, 3))) if rng.random() < EARLIER_SUMMARY_SHARE else []
        before = summaries.summary("", earlier)
        rows = some(rng.choice((1, 2, 2, 3, 4)) if among_sample_tools else rng.choice((1, 2, 3)))
        asked = summaries.asked(before, rows, rng)
        again = some(1) if rng.random() < 0.2 else []
        turns = [*(summaries.standing_for(before) if before else []), *(turn for row in rows for turn in row.turns())]
        turns += [turn for row in (asked, *again) for turn in row.turns()]
        if among_sample_tools:
            return {"tools": list(everyday.TOOLS.values()), "turns": turns}
        tools = {tool["name"]: tool for row in (*earlier, *rows, *again) for tool in row.tools}
        return {"tools": list(tools.values()), "turns": turns}

    def _first(self) -> Exchange:
        return exchanges.first(self._rng.choice(self.first), self._rng)

    def _conversation(self, rows: Sequence[Exchange], *, distractors: bool = True) -> dict[str, Any]:
        tools: dict[str, Tool] = {}
        for row in rows:
            for tool in row.tools:
                tools.setdefault(tool["name"], tool)
        offered = list(tools.values())
        if distractors:
            self._add_distractors(offered)
        self._rng.shuffle(offered)
        return {"tools": offered, "turns": [turn for row in rows for turn in row.turns()]}

    def _add_distractors(self, tools: list[Tool]) -> None:
        if tools and self._rng.random() < DISTRACTOR_SHARE and len(tools) < 4:
            names = {tool["name"] for tool in tools}
            for tool in self._rng.sample(self.tools, self._rng.randint(1, 2)):
                if tool["name"] not in names:
                    names.add(tool["name"])
                    tools.append(tool)

    def _encode(self, conversation: dict[str, Any]) -> list[int]:
        request = ChatCompletionRequest(
            messages=list(self._messages(conversation)),
            tools=[{"type": "function", "function": tool} for tool in conversation["tools"]] or None,
        )
        return self._tokenizer.encode_chat_completion(request).tokens

    def _messages(self, conversation: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if conversation.get("system"):
            yield {"role": "system", "content": conversation["system"]}
        ids: list[str] = []
        for turn in conversation["turns"]:
            ((kind, body),) = turn.items()
            match kind:
                case "user":
                    yield {"role": "user", "content": body}
                case "say" | "given":
                    yield {"role": "assistant", "content": body}
                case "call":
                    ids = [self._call_id() for _ in body]
                    calls = [_tool_call(i, call) for i, call in zip(ids, body, strict=True)]
                    yield {"role": "assistant", "content": "", "tool_calls": calls}
                case "result":
                    for i, result in zip(ids, body, strict=True):
                        content = result if isinstance(result, str) else json.dumps(result)
                        yield {"role": "tool", "tool_call_id": i, "content": content}

    def _learned(self, tokens: list[int], *, given: bool = False) -> list[int]:
        """1 for what the model writes: from the end of a question or of the results to `</s>`, but for a given first answer."""
        mask, writing = [], False
        for i, token in enumerate(tokens):
            if i and tokens[i - 1] in self._before_answer and token != self._results:
                writing = True
            mask.append(int(writing and not given))
            if token == self._end:
                writing = given = False
        return mask

    def _call_id(self) -> str:
        return "".join(self._rng.choice(string.ascii_letters + string.digits) for _ in range(9))


def _tool_call(call_id: str, call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {"id": call_id, "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _plain(question: str) -> str:
    return " ".join(re.findall(r"[\w%+*/.-]+", question.casefold())).rstrip(".")
