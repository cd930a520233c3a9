from __future__ import annotations

import asyncio
import html
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from cli_program import REPOSITORY, Program
from desk_program import Desk, loaded_here

from toolchat.chat.guards import Limits
from toolchat.engine.config import CPU_CONTEXT, gpu_need
from toolchat.engine.gpu import GIB
from toolchat.engine.local import LOGS_KEPT
from toolchat.engine.memory import context_beside, loaded_bytes
from toolchat.images.download import MAX_REDIRECTS, SECONDS
from toolchat.images.image import MAX_BYTES, MAX_IMAGES, MAX_PIXELS, description, size_text
from toolchat.images.returned import PICTURE_BYTES
from toolchat.models.choice import BY_MEMORY, choose_model
from toolchat.settings import SETTINGS, Settings, cache_folder, config_file, resolve, state_folder
from toolchat.tools.run import ToolRunner
from toolchat.tools.toolbox import MIB, ToolOptions
from toolchat.ui.dialogs import ARMING_SECONDS
from toolchat.wire.errors import ExitCode
from toolchat.wire.messages import ResultStatus, ToolCall, ToolResult

DOCS = REPOSITORY / "docs"
SETTINGS_PAGE = (DOCS / "settings.md").read_text()
TOOLS_PAGE = (DOCS / "tools.md").read_text()

DESK = "Five minutes with the desk"
SECONDS_TAKEN = re.compile(r"\d+\.\d{3}\b")
LINK = re.compile(r"\]\(([^)#]+)?(?:#([^)]+))?\)")


def section(page: str, title: str) -> str:
    return re.split(r"^## ", page.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table in `text`, heads left out."""
    lines = text.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("| ") and not line.startswith("| ---") and not after.startswith("| ---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def documented_settings() -> dict[str, list[str]]:
    """The rows of the table of settings, by the key of config.toml."""
    return {quoted(row[2])[0]: row for row in rows(section(SETTINGS_PAGE, "Settings")) if len(row) == 5}


def test_every_setting_is_documented_with_its_flag_and_variable() -> None:
    documented = {key: (quoted(row[0])[0], quoted(row[1])[0]) for key, row in documented_settings().items()}
    assert documented == {key: (setting.flag, f"TOOLCHAT_{key.upper()}") for key, setting in SETTINGS.items()}


@pytest.mark.process
@pytest.mark.parametrize("command", [(), ("ask",), ("repl",), ("replay",), ("report",), ("serve",), ("tools", "list")])
def test_every_flag_of_a_command_is_documented(toolchat: Program, command: tuple[str, ...]) -> None:
    declared = re.findall(r"^  (?:(-\w), )?(--[\w-]+)", toolchat(*command, "--help").out, re.MULTILINE)
    flags = {flag for spellings in declared for flag in spellings if flag}
    assert "--help" in flags
    assert flags <= {flag for row in rows(section(SETTINGS_PAGE, "Settings")) for flag in quoted(row[0])}


@pytest.mark.process
def test_the_answer_that_the_readme_shows_is_the_recorded_one(forked_toolchat: Program) -> None:
    shown = (REPOSITORY / "README.md").read_text().partition("```console\n$ make demo\n")[2].partition("```")[0]
    ran = forked_toolchat("replay", str(REPOSITORY / "tests" / "cassettes" / "weather.jsonl"))
    assert shown.partition("\n")[2] == ran.err + ran.out


@pytest.mark.parametrize("command", ["check", "show", "call", "new"])
def test_every_flag_of_the_desk_is_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    help_text = Desk(tmp_path, monkeypatch, capsys)(command, "--help").out
    flags = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_text, re.MULTILINE))
    assert flags
    documented = {flag for row in rows(section(SETTINGS_PAGE, "Settings")) for flag in quoted(row[0]) if len(row) != 3}
    by_command = [row for row in rows(section(SETTINGS_PAGE, "Settings")) if len(row) == 3]
    documented |= {flag for row in by_command if f"tools {command}" in row[1] for flag in quoted(row[0])}
    assert flags - {"--help"} <= documented


def test_the_documented_defaults_are_the_programs(tmp_path: Path) -> None:
    defaults = {key: row[4] for key, row in documented_settings().items()}
    built_in = Settings()
    demo = choose_model("demo", tmp_path).defaults
    assert defaults["max_tokens"] == f"{built_in.max_tokens}; demo: {demo['max_tokens']}"
    assert defaults["temperature"] == defaults["top_p"] == defaults["system"] == "the model's own"
    assert built_in.temperature is built_in.top_p is built_in.system is None
    assert built_in.system is None
    assert f"CPU: {CPU_CONTEXT}," in defaults["context"]
    assert defaults["model"].endswith("else `demo`")


def test_the_documented_models_by_memory_are_the_programs() -> None:
    page = section((DOCS / "engines.md").read_text(), "Which model fits which card").partition("### ")[0]
    table = list(rows(page))
    documented = [(float(row[0].split()[0]), row[1], quoted(row[3])) for row in table if "GiB" in row[0]]
    names = [row[1].split(",")[0] for row in documented]
    assert [(int(least * GIB), flags == ["--text-only"]) for least, _, flags in documented] == [
        (default.least, default.settings.get("text_only", False)) for default in BY_MEMORY
    ]
    assert [name if name != "the same" else names[at - 1] for at, name in enumerate(names)] == [
        default.name for default in BY_MEMORY
    ]


LAYERS = {"Ministral-3-3B": 26, "Ministral-3-8B": 34, "Ministral-3-14B": 40, "Mistral-7B": 32, "Mistral Small 3": 40}
"""Of the models on the page; all have 8 heads of 128 numbers for keys and values."""
ALL_THERE_IS = {"Mistral-7B": 32_768}


def reckoned(model: str, flags: str, weights: float, gib: float) -> int:
    """The context that a free card of that size holds beside weights of so many GB, as they are loaded."""
    name = next(known for known in LAYERS if known in model)
    params = {"n_layers": LAYERS[name], "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "vision_encoder": {"dim": 1}}
    need = gpu_need(
        params,
        int(weights * 1e9),
        None,
        None,
        (8, 9),
        text_only="--text-only" in flags,
        cached_in_8_bits="kv_cache_dtype=fp8" in flags,
    )
    return min(context_beside(need, int(gib * GIB), int(gib * GIB)), ALL_THERE_IS.get(name, 1 << 30))


def test_the_documented_contexts_are_those_that_are_reckoned() -> None:
    page = section((DOCS / "engines.md").read_text(), "Which model fits which card")
    first, _, second = page.partition("### More out of a card")
    documented = []
    cards = iter((24, 16, 12, 8))
    above = ""
    for row in rows(first):
        if "GiB" in row[0]:
            above = row[1] if row[1] != "the same" else above
            documented.append((above, row[3], row[2], next(cards), row[4]))
    assert len(documented) == 4
    small = [(row[1], row[2], row[3], int(row[0].split()[0]), row[4]) for row in rows(second)]
    assert {card for *_, card, _ in small} == {8, 12, 16, 24}
    for model, flags, weights, card, context in documented + small:
        number = int(context.split(", all")[0].replace(",", ""))
        found = reckoned(model, flags, float(weights.split()[0]), card)
        assert number == pytest.approx(found, rel=0.01), (model, flags, card)


def test_the_documented_weights_of_an_online_quantisation_are_those_that_are_reckoned() -> None:
    params = {"vocab_size": 32768, "dim": 4096}
    loaded = loaded_bytes(14_500_000_000, "fp8_per_tensor", params)
    page = section((DOCS / "engines.md").read_text(), "Which model fits which card")
    table = [row for row in rows(page) if "fp8_per_tensor" in row[2]]
    assert table
    assert {row[3] for row in table} == {f"{loaded / 1e9:.1f} GB"}


def test_the_documented_bounds_are_the_ones_that_are_checked() -> None:
    temperature = re.search(r"from (\S+) \(.*\) to (\S+)", documented_settings()["temperature"][3])
    kv_cache = re.search(r"(\S+) to (\S+)$", documented_settings()["kv_cache_gib"][3])
    assert temperature is not None
    assert kv_cache is not None
    for key, found in (("temperature", temperature), ("kv_cache_gib", kv_cache)):
        low, high = map(float, found.groups())
        for inside in (low, high):
            assert SETTINGS[key].parse(str(inside)) == inside
        for outside in (low - 0.001, high + 0.001):
            with pytest.raises(ValueError, match="expected a number"):
                SETTINGS[key].parse(str(outside))


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(.*?)^```", SETTINGS_PAGE, re.DOTALL | re.MULTILINE))
def test_each_documented_config_file_is_read(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    written = tomllib.loads(text)
    profiles = written.pop("profiles", {})
    for name, chosen in {None: {}, **profiles}.items():
        settings = resolve({"profile": name}, environment={}, file=file)
        expected = {**written, **chosen}
        assert {key: getattr(settings, key) for key in expected} == expected


def test_the_documented_paths_are_where_the_program_looks(home: Path) -> None:
    documented = {path for row in rows(section(SETTINGS_PAGE, "Files")) for path in quoted(row[0])}
    state = state_folder()
    for path in (
        config_file(),
        cache_folder() / "models/",
        state / "sessions/sessions.db",
        state / "sessions/files/",
        state / "logs",
        state / "trusted-tools.json",
        state / "grants.json",
    ):
        written = f"~/{path.relative_to(home)}"
        assert {written, f"{written}/"} & documented
    assert LOGS_KEPT == 10
    assert "the ten newest" in SETTINGS_PAGE


def test_every_exit_code_is_documented_once_and_in_their_order() -> None:
    codes = [int(row[0]) for row in rows(section(SETTINGS_PAGE, "Exit codes"))]
    assert sorted(codes) == sorted(ExitCode)
    assert codes.index(ExitCode.LIMIT) < codes.index(ExitCode.TRUNCATED) < codes.index(ExitCode.DECLINED)
    assert codes[-1] == ExitCode.OK


def test_the_documented_limits_of_a_turn_are_the_programs() -> None:
    limits = Limits()
    assert limits.rounds == 8
    assert "eight rounds" in SETTINGS_PAGE
    assert f"after {limits.rounds} rounds of calls" in TOOLS_PAGE
    assert f"more than {limits.calls_per_round} calls in one round" in TOOLS_PAGE
    assert limits.stop_at == 5
    assert "for the\nfifth time" in TOOLS_PAGE
    assert f"nothing has been typed for {ARMING_SECONDS:g} seconds" in TOOLS_PAGE
    options = ToolOptions()
    assert f"After `timeout` ({options.timeout:g} seconds)" in TOOLS_PAGE
    assert options.memory == 2048 * MIB
    assert "`memory` (2 GiB)" in TOOLS_PAGE


@pytest.fixture
def written(toolchat: Program) -> Program:
    """The program in a folder with every file of docs/tools.md: a block below a line that names it."""
    files = re.findall(r"^`([\w.-]+)`[^\n]*:\n\n```(?:python|yaml)\n(.*?)^```", TOOLS_PAGE, re.DOTALL | re.MULTILINE)
    assert len(files) == len(re.findall(r"^```(?:python|yaml)$", TOOLS_PAGE, re.MULTILINE))
    for name, text in files:
        (toolchat.folder / name).write_text(text)
    return toolchat


@pytest.mark.process
def test_the_commands_of_the_tools_page_say_what_it_shows(written: Program) -> None:
    page = TOOLS_PAGE.replace(section(TOOLS_PAGE, DESK), "")
    blocks = re.findall(r"^```console\n\$ toolchat (.*?)\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    for command, shown in blocks:
        ran = written(*shlex.split(command))
        assert [line.rstrip() for line in (ran.out + ran.err).splitlines()] == shown.splitlines()


@pytest.mark.process
def test_the_five_minutes_with_the_desk_are_what_a_person_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # as on a terminal, where both are one
    desk = Desk(tmp_path, monkeypatch, capsys)
    looks = ("check", "show")
    block = re.compile(r"(?:^`([\w.-]+)`[^\n]*:\n\n)?^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    commands = 0
    for name, kind, text in block.findall(section(TOOLS_PAGE, DESK)):
        if kind != "console":
            (tmp_path / name).write_text(text)
            continue
        commands += 1
        command, shown = text.removeprefix("$ toolchat tools ").split("\n", 1)
        with loaded_here(monkeypatch) if command.startswith(looks) else nullcontext():
            ran = desk(*shlex.split(command))
        assert SECONDS_TAKEN.sub("0.000", ran.out.replace(" \n", "\n")) == SECONDS_TAKEN.sub("0.000", shown)
    assert commands == 7


def test_the_recorded_five_minutes_are_those_of_the_page() -> None:
    # `make docs` records them. Rows are broken elsewhere there, and calls take another time.
    def plain(text: str) -> str:
        return re.sub(r"\d+\.\d{3}", "0.000", re.sub(r"\s+", "", text))

    picture = (DOCS / "desk.svg").read_text()
    pieces = re.findall(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', picture)
    lines: dict[float, str] = {}
    for _, height, text in pieces:
        lines[float(height)] = lines.get(float(height), "") + html.unescape(text)
    recorded = "\n".join(line for _, line in sorted(lines.items()))
    blocks = re.findall(r"^```console\n(.*?)^```", section(TOOLS_PAGE, DESK), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 7
    for block in blocks:
        assert plain(block) in plain(recorded)


@pytest.mark.process
def test_the_tools_of_the_tools_page_load_and_answer_calls(written: Program) -> None:
    def answer(name: str, **arguments: object) -> tuple[ResultStatus, str]:
        async def play() -> ToolResult:
            runner = await ToolRunner.start(written.folder / "more.yaml")
            try:
                assert runner.toolbox.names == ("my_books", "lend", "calculate")
                tool = runner.toolbox.get(name)
                assert tool is not None
                ready = await runner.prepare(tool, ToolCall("abcdefghi", name, dict(arguments)))
                return ready if isinstance(ready, ToolResult) else await ready.run()
            finally:
                await runner.close()

        result = asyncio.run(play())
        return result.status, result.content

    assert answer("my_books", author="lem", sort="year", limit="1") == (ResultStatus.OK, '["Solaris (1961)"]')
    status, content = answer("my_books", author="Homer")
    assert status is ResultStatus.ERROR
    assert content.startswith("Error: ValueError: there is no author 'Homer'")
    loan = {"title": "Kindred", "to": "Ann", "due": "2026-01-31"}
    assert answer("lend", loan=loan, shelf="living room") == (
        ResultStatus.OK,
        "Ann has Kindred from the living room until 2026-01-31",
    )


@pytest.mark.process
def test_the_images_of_the_tools_page_come_back(written: Program) -> None:
    async def play(name: str) -> ToolResult:
        runner = await ToolRunner.start(written.folder / "badge.yaml")
        try:
            tool = runner.toolbox.get(name)
            assert tool is not None
            ready = await runner.prepare(tool, ToolCall("abcdefghi", name, {"text": "Hello"}))
            return ready if isinstance(ready, ToolResult) else await ready.run()
        finally:
            await runner.close()

    one, two = (asyncio.run(play(name)) for name in ("badge", "before_and_after"))
    assert (one.content, [image.width for image in one.images]) == ("[image 1]", [240])
    assert (two.content, len(two.images)) == ("Before:\n[image 1]\nAfter:\n[image 2]", 2)
    shown, _, _ = description(one.images[0]).partition(", ")
    assert re.search(rf"`\[image: {shown}, \d+ bytes; this model cannot see it\]`", TOOLS_PAGE)


def test_the_documented_limits_of_images_are_the_programs() -> None:
    limits = [row[1] for row in rows((DOCS / "images.md").read_text())]
    pixels = f"{MAX_PIXELS // 10**6} million (8192 × 8192)"
    assert MAX_PIXELS == 8192 * 8192
    fetching = f"{SECONDS:g} seconds, {MAX_REDIRECTS} redirects"
    assert limits == [str(MAX_IMAGES), size_text(MAX_BYTES), pixels, fetching]
    assert (
        f"At most {MAX_IMAGES} images come back from one call, each of at most {size_text(PICTURE_BYTES)}."
        in TOOLS_PAGE
    )


def test_the_tests_that_the_page_on_security_names_are_there() -> None:
    page, tests = (DOCS / "security.md").read_text(), REPOSITORY / "tests"
    files = set(re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)`", page))
    assert files
    places = [*tests.glob("security/*.py"), *(tests / file for file in files if "/" in file)]
    assert files <= {path.name for path in places} | {str(path.relative_to(tests)) for path in places if path.exists()}
    names = re.findall(r"def (test_\w+)", "".join(path.read_text() for path in places))
    for part in re.findall(r"`(?=[^`]*…)…?(\w+)…?`", page):
        assert any(part in name for name in names), part


def test_every_key_of_a_tools_file_is_documented() -> None:
    from toolchat.tools.file_schema import file_schema

    page = (DOCS / "tools-reference.md").read_text()
    tool = file_schema()["properties"]["tools"]["items"]["anyOf"][1]["properties"]
    for key in (*file_schema()["properties"], *tool):
        assert f"`{key}`" in page, key


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text()
    for target, anchor in LINK.findall(text):
        if target.startswith("http"):
            continue
        linked = DOCS / target if target else DOCS / page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings}
