"""Servers of the registries, in a throw-away folder: `make test-all`, where npm and pip reach their registries.

REAL_MCP_SERVERS may name a folder that has them already: python/ and old/ (virtual environments) and node_modules/.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mcp_bench import McpBench, start, write_servers

from toolchat.tools.mcp.elicitation import Elicitation, Elicited
from toolchat.wire.messages import ResultStatus

pytestmark = [pytest.mark.slow, pytest.mark.process, pytest.mark.timeout(900)]
FOLDER = os.environ.get("REAL_MCP_SERVERS")
OF_PYTHON = ("mcp-server-time", "mcp-server-fetch", "mcp-server-git")
OF_NODE = tuple(f"@modelcontextprotocol/server-{name}" for name in ("everything", "filesystem", "memory"))


def installed(folder: Path) -> Path:
    """The folder with all servers in it, installed where they are not yet."""
    try:
        # sqlite's is one for the SDK before 2.0.
        for name, packages in (("python", OF_PYTHON), ("old", ("mcp-server-sqlite", "mcp<2"))):
            if not (folder / name).exists():
                subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
                subprocess.run([folder / name / "bin" / "pip", "install", "-q", *packages], check=True)
        if not (folder / "node_modules").exists():
            npm = shutil.which("npm")
            if npm is None:
                pytest.skip("npm is not installed")
            subprocess.run([npm, "install", "--no-audit", "--no-fund", *OF_NODE], cwd=folder, check=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the servers cannot be installed: {error}")
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    (folder / "files").mkdir()
    (folder / "files" / "a.txt").write_text("hello\n")
    (folder / "repo").mkdir()
    git = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-C", str(folder / "repo")]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    return folder


@pytest.fixture(scope="module")
def bench(loop: asyncio.Runner, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpBench]:
    real = installed(Path(FOLDER) if FOLDER is not None else tmp_path_factory.mktemp("servers"))

    def node(name: str, *arguments: str) -> list[str]:
        script = real / "node_modules" / "@modelcontextprotocol" / f"server-{name}" / "dist" / "index.js"
        return ["node", str(script), *arguments]

    python = real / "python" / "bin"
    servers = {
        "time": {"command": [str(python / "mcp-server-time"), "--local-timezone=UTC"]},
        "fetch": {"command": [str(python / "mcp-server-fetch"), "--allow-private-ips"]},
        "git": {"command": [str(python / "mcp-server-git"), "--repository", str(world / "repo")]},
        "sqlite": {"command": [str(real / "old" / "bin" / "mcp-server-sqlite"), "--db-path", str(world / "x.db")]},
        "files": {"command": node("filesystem", str(world / "files"))},
        "memory": {"command": node("memory"), "env": {"MEMORY_FILE_PATH": str(world / "memory.json")}},
        "everything": {"command": node("everything"), "roots": True},
    }
    (world / "home").mkdir()
    path = write_servers(world / "home", {name: {**of, "start_timeout": 60} for name, of in servers.items()})
    bench = start(loop, path)
    yield bench
    loop.run(bench.runner.close())


def calls(world: Path) -> dict[str, list[tuple[str, dict[str, object], str]]]:
    """By server, calls and what their results must hold; "!" stands before what must be an error."""
    repo, files = str(world / "repo"), world / "files"
    in_berlin = {"timezone": "Europe/Berlin"}
    noon = {"source_timezone": "UTC", "time": "12:00"}
    ada = {"name": "Ada", "entityType": "person", "observations": ["wrote"]}
    bob = {"name": "Bob", "entityType": "person", "observations": []}
    knows = {"from": "Ada", "to": "Bob", "relationType": "knows"}
    return {
        "time": [
            ("get_current_time", in_berlin, '"timezone": "Europe/Berlin"'),
            ("get_current_time", {"timezone": "UTC"}, r"\+00:00"),
            ("get_current_time", {"timezone": "Asia/Tokyo"}, r"\+09:00"),
            ("get_current_time", {"timezone": "Mars/Base"}, "!time zone|timezone"),
            ("get_current_time", {}, "!missing argument"),
            ("convert_time", {**noon, "target_timezone": "Asia/Tokyo"}, "T21:00:00"),
            ("convert_time", {**noon, "target_timezone": "Asia/Kolkata"}, "T17:30:00"),
            ("convert_time", {**noon, "target_timezone": "UTC"}, "T12:00:00"),
            ("convert_time", {**noon, "time": "25:00", "target_timezone": "UTC"}, "!time"),
            ("convert_time", {**noon, "target_timezone": 5}, "!."),
        ],
        "fetch": [
            *[("fetch", {"url": f"{pages(world)}/a.txt", "raw": raw}, "hello") for raw in (True, False, "true")],
            ("fetch", {"url": f"{pages(world)}/a.txt", "max_length": 2, "raw": True}, "he"),
            ("fetch", {"url": f"{pages(world)}/a.txt", "start_index": 2, "raw": True}, "llo"),
            ("fetch", {"url": f"{pages(world)}/none.txt"}, "!404"),
            ("fetch", {"url": "http://127.0.0.1:9/"}, "!"),
            ("fetch", {"url": "no address"}, "!"),
            ("fetch", {"url": f"{pages(world)}/a.txt", "max_length": "many"}, "!max_length must be"),
            ("fetch", {}, "!missing argument"),
        ],
        "git": [
            ("git_status", {"repo_path": repo}, "nothing to commit|working tree clean"),
            ("git_log", {"repo_path": repo, "max_count": 1}, "Message: .*first"),
            ("git_log", {"repo_path": repo, "max_count": "1"}, "first"),
            ("git_log", {"repo_path": "/etc"}, "!outside"),
            ("git_create_branch", {"repo_path": repo, "branch_name": "other"}, "other"),
            ("git_branch", {"repo_path": repo, "branch_type": "local"}, "other"),
            ("git_checkout", {"repo_path": repo, "branch_name": "other"}, "other"),
            ("git_diff_unstaged", {"repo_path": repo}, "."),
            ("git_show", {"repo_path": repo, "revision": "HEAD"}, "first"),
            ("git_show", {"repo_path": repo, "revision": "nothing"}, "!"),
        ],
        "sqlite": [
            ("create_table", {"query": "CREATE TABLE t (a INTEGER)"}, "created"),
            ("list_tables", {}, "'t'"),
            ("describe_table", {"table_name": "t"}, "INTEGER"),
            ("write_query", {"query": "INSERT INTO t VALUES (1), (2)"}, "affected_rows.*2"),
            ("read_query", {"query": "SELECT sum(a) AS s FROM t"}, "'s': 3"),
            ("read_query", {"query": "DROP TABLE t"}, "Only SELECT"),
            ("read_query", {"query": "SELECT * FROM missing"}, "no such table"),
            ("read_query", {}, "!missing argument"),
            ("append_insight", {"insight": "two rows"}, "added"),
            ("list_tables", {}, "'t'"),
        ],
        "files": [
            ("read_text_file", {"path": str(files / "a.txt")}, "^hello\n$"),
            ("read_text_file", {"path": "/etc/passwd"}, "!Access denied"),
            ("read_text_file", {"path": str(files / "none.txt")}, "!ENOENT"),
            ("list_directory", {"path": str(files)}, r"^\[FILE\] a.txt$"),
            ("write_file", {"path": str(files / "b.txt"), "content": "new"}, "wrote"),
            ("search_files", {"path": str(files), "pattern": "*.txt"}, "b.txt"),
            ("get_file_info", {"path": str(files / "b.txt")}, "size: 3"),
            ("move_file", {"source": str(files / "b.txt"), "destination": str(files / "c.txt")}, "moved"),
            ("read_multiple_files", {"paths": [str(files / "a.txt"), str(files / "c.txt")]}, "new"),
            ("list_allowed_directories", {}, "files"),
        ],
        "memory": [
            ("create_entities", {"entities": [ada, bob]}, "Ada"),
            ("create_relations", {"relations": [knows]}, "knows"),
            ("add_observations", {"observations": [{"entityName": "Bob", "contents": ["reads"]}]}, "reads"),
            ("read_graph", {}, "knows"),
            ("search_nodes", {"query": "wrote"}, "Ada"),
            ("open_nodes", {"names": ["Bob"]}, "reads"),
            ("delete_relations", {"relations": [knows]}, "."),
            ("delete_entities", {"entityNames": ["Bob"]}, "."),
            ("read_graph", {}, "^(?!.*Bob)"),
            ("open_nodes", {"names": [5]}, "!names.0 must be string"),
        ],
        "everything": [
            ("echo", {"message": "hi"}, "^Echo: hi$"),
            ("get-sum", {"a": 1, "b": 2}, "is 3"),
            ("get-sum", {"a": "1", "b": "2"}, "is 3"),
            ("get-sum", {"a": "one", "b": 2}, "!a must be number"),
            ("get-tiny-image", {}, r"\[image 1\]"),
            ("get-annotated-message", {"messageType": "success", "includeImage": True}, r"\[image 1\]"),
            ("get-resource-links", {"count": 2}, r"\[a resource: demo://"),
            ("get-resource-reference", {"resourceType": "Blob", "resourceId": 1}, "kept in"),
            ("get-structured-content", {"location": "Chicago"}, '"temperature"'),
            ("get-roots-list", {}, "file:///"),
        ],
    }


@cache
def pages(world: Path) -> str:
    """The address of the world's files, served from a thread: there may be no other network."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(world / "files")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("server", ["time", "fetch", "git", "sqlite", "files", "memory", "everything"])
def test_ten_calls_of_a_real_server_come_to_what_they_should(bench: McpBench, world: Path, server: str) -> None:
    assert bench.state(server).state == "ready", bench.state(server).why
    assert bench.names(server)
    for name, arguments, expected in calls(world)[server]:
        full = name if name.startswith(f"{server}_") else f"{server}_{name}"
        said = bench.loop.run(bench.call_async(full, arguments=arguments))
        wrong = expected.startswith("!")
        assert (said.result.status is ResultStatus.ERROR) is wrong, (name, said.result)
        assert re.search(expected.removeprefix("!"), said.result.content, re.DOTALL), (name, said.result)


def test_the_server_that_tries_everything_is_understood(bench: McpBench) -> None:
    (image,) = bench.call("everything_get-tiny-image").result.images
    assert image.media_type == "image/png"
    said = bench.call("everything_trigger-long-running-operation", duration=1, steps=4)
    assert said.lines == "1 of 4\n2 of 4\n3 of 4\n4 of 4\n"
    assert "everything:simple-prompt" in bench.runner.prompts
    assert bench.loop.run(bench.runner.prompt("everything:simple-prompt", {}))[0]
    told = bench.runner.resources["everything"]
    assert {"demo://resource/dynamic/text/", "demo://resource/dynamic/blob/"} <= set(told)
    resources = bench.loop.run(bench.mcp.ask("everything", "resources"))
    assert bench.loop.run(bench.mcp.ask("everything", "read", {"uri": resources[0]["uri"]}))


def test_the_server_that_tries_everything_asks_and_is_cancelled(bench: McpBench) -> None:
    seen: list[Elicitation] = []

    async def elicit(asked: Elicitation) -> Elicited:
        seen.append(asked)
        return Elicited(True, {"name": "Ada"})

    bench.attach(elicit)
    assert "- Name: Ada" in bench.call("everything_trigger-elicitation-request").result.content
    url = bench.call("everything_trigger-url-elicitation", url="https://example.org").result.content
    assert '"action": "accept"' in url
    assert [asked.url for asked in seen] == ["", "https://example.org"]
    bench.attach()
    assert "declined" in bench.call("everything_trigger-elicitation-request").result.content

    async def interrupted() -> ResultStatus:
        cancel, spoke = asyncio.Event(), asyncio.Event()
        name, long = "everything_trigger-long-running-operation", {"duration": 60, "steps": 600}
        calling = asyncio.create_task(bench.call_async(name, cancel, long, spoke))
        await asyncio.wait_for(spoke.wait(), 20)
        cancel.set()
        return (await calling).result.status

    assert bench.loop.run(interrupted()) is ResultStatus.INTERRUPTED
    assert bench.call("everything_echo", message="still here").result.content == "Echo: still here"
