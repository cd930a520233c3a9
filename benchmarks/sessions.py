"""What stored sessions cost: going on with 1,000 turns, a late turn, searching 100,000 messages, 10,000 sessions.

The engine is scripted, so that only toolchat's own work is measured. The aims: 1,000
turns are open again within 0.5 s; the last hundred turns cost at most 1.2 times the first; a search among 100,000
messages takes at most 100 ms; and a chat begins no later where 10,000 sessions are stored: neither its first event,
nor the prompt of `toolchat repl` (in a terminal, from exec to a prompt that can be typed at) come later.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import _common as common
import first_prompt

from toolchat.engine.scripted import ScriptedEngine
from toolchat.session.session import Session
from toolchat.settings import Settings
from toolchat.store.database import Database
from toolchat.store.record import Message as Text
from toolchat.store.record import SessionRecord, insert_message, insert_session
from toolchat.store.sessions import open_session_of, stored_sessions
from toolchat.tools.run import ToolRunner
from toolchat.wire.deltas import TokenCount
from toolchat.wire.events import Event, SessionStarted, Stamper
from toolchat.wire.messages import Message, ToolSpec

TURNS = 1000
MESSAGES = 100_000
SESSIONS = 10_000
SENTENCE = "the train to Zürich leaves from platform four at noon and arrives in the evening"
WORDS = tuple(re.findall(r"\w+", SENTENCE))


class Uncounting(ScriptedEngine):
    """Leaves out what the double does with every message: counting is the engine's work."""

    def _count(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> TokenCount:
        return TokenCount(1, (), (), 1)


def nothing(_: Event) -> None:
    pass


def chat(folder: Path) -> tuple[list[float], str]:
    """Milliseconds of each turn, and the session's id."""
    engine = Uncounting(context=10_000_000)
    session = Session(Settings(), "m", engine, folder, nothing)
    seconds = []

    async def play() -> None:
        session.equip(ToolRunner.none())
        await session.launch()
        await session.ready()
        for turn in range(TURNS):
            engine.enqueue(f"Answer {turn}: " + " ".join(WORDS * 8))
            begun = time.process_time()
            await session.ask(f"question {turn}?")
            seconds.append((time.process_time() - begun) * 1000)
        await session.close()

    asyncio.run(play())
    return seconds, session.record.session


def resumed(folder: Path, session: str) -> float:
    begun = time.perf_counter()
    opened = open_session_of(folder, session)
    again = Session(Settings(), "m", ScriptedEngine(), folder, nothing, opened=opened)
    again.show_past()
    seconds = time.perf_counter() - begun
    asyncio.run(again.close())
    return seconds


def fill(folder: Path) -> None:
    """MESSAGES texts of about 200 characters, in sessions of ten each."""
    database = Database(folder)
    with database.writing() as rows:
        for number in range(MESSAGES // 10):
            session = insert_session(rows, f"20250101-000000-{number:06x}", float(number))
            rows.execute("UPDATE sessions SET title = ?, turns = 5 WHERE number = ?", (f"question {number}", session))
            for at in range(10):
                begin = (number * 7 + at) % len(WORDS)
                text = f"word{number % 5000}x{at} " + " ".join((WORDS[begin:] + WORDS) * 2)
                insert_message(database, session, Text(at // 2 + 1, "answer" if at % 2 else "question", text))
    database.close()


def searched(folder: Path, text: str, runs: int) -> list[float]:
    seconds = []
    with stored_sessions(folder) as store:
        for _ in range(runs):
            begun = time.perf_counter()
            store.search(text)
            seconds.append((time.perf_counter() - begun) * 1000)
    return seconds


def began(folder: Path) -> float:
    """Milliseconds from nothing to the first stored event of a chat."""
    begun = time.perf_counter()
    record = SessionRecord(folder, f"s{time.time_ns()}")
    record.append(Stamper(record.session, time.time)(SessionStarted("m", "p")))
    milliseconds = (time.perf_counter() - begun) * 1000
    assert record.failure is None
    record.close()
    return milliseconds


def home_with(sessions: Path) -> Path:
    """A folder for a toolchat's state with those sessions in it."""
    home = sessions.with_name(f"{sessions.name}-home")
    (home / "state/toolchat").mkdir(parents=True, mode=0o700)
    sessions.rename(home / "state/toolchat/sessions")
    return home


def prompted(home: Path) -> float:
    """Milliseconds from exec to a prompt of `toolchat repl` that can be typed at."""
    command = [*common.TOOLCHAT, "repl", "--model", "demo"]
    return first_prompt.first_prompt(command, common.own_folders(home), home) * 1000


def main() -> None:
    options = common.arguments(__doc__, runs=9).parse_args()
    print(common.machine())
    with tempfile.TemporaryDirectory() as name:
        long, full, empty = (Path(name) / part for part in ("long", "full", "empty"))
        turns, session = chat(long)
        again = [resumed(long, session) for _ in range(options.runs)]
        fill(full)
        queries = {
            "a rare word": "word77x3",
            "words of every message": "train platform",
            "nothing that there is": "aeroplane",
            "part of a word": "ürich",
        }
        finds = {what: searched(full, text, options.runs) for what, text in queries.items()}
        began(empty)
        _, starts = common.alternate({"10,000": lambda: began(full), "none": lambda: began(empty)}, options.runs)
        homes = {"10,000": home_with(full), "none": home_with(empty)}
        _, prompts = common.alternate(
            {stored: partial(prompted, home) for stored, home in homes.items()}, options.runs * 2
        )
    first, last = statistics.median(turns[:100]), statistics.median(turns[-100:])
    resume, slowest = statistics.median(again), max(statistics.median(values) for values in finds.values())
    prompt = common.ratio(prompts["10,000"], prompts["none"])
    rows = [
        [f"go on with {TURNS} turns, s", *common.spread(again, 3)],
        ["a turn, of the first 100, ms of CPU", *common.spread(turns[:100], 2)],
        ["a turn, of the last 100, ms of CPU", *common.spread(turns[-100:], 2)],
        *([f"search 100,000 messages: {what}, ms", *common.spread(values, 1)] for what, values in finds.items()),
        *(
            [f"first event, {stored} sessions stored, ms", *common.spread(values, 2)]
            for stored, values in starts.items()
        ),
        *(
            [f"repl's prompt, {stored} sessions stored, ms", *common.spread(values, 0)]
            for stored, values in prompts.items()
        ),
    ]
    print(common.table(["what", "median", "least", "most"], rows))
    for told, met in (
        (f"{resume:.2f} s to go on with {TURNS} turns; at most 0.5", resume <= 0.5),
        (f"the last hundred turns cost {last / first:.2f} times the first; at most 1.2", last <= 1.2 * first),
        (f"a prompt comes {prompt:.2f} times as late with 10,000 sessions; at most 1.05", prompt <= 1.05),
        (f"the slowest search takes {slowest:.0f} ms; at most 100", slowest <= 100),
    ):
        print(f"{told}: {common.verdict(met)}")


if __name__ == "__main__":
    main()
