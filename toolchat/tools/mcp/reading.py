"""Reads the servers of a tools file's section `mcp`, and of `mcpServers` as other programs write them, from nodes.

Every problem is noted at its place; nothing of a server is started or looked up.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import yaml

from toolchat.tools.file_keys import KeyReader
from toolchat.tools.mcp.entry import SERVER_NAME, McpServer, OAuth
from toolchat.tools.options import OPTIONS, Environment, OptionError, check_not_own, read_environment
from toolchat.tools.problems import Problems, did_you_mean
from toolchat.tools.variables import looks_expanded, names_in
from toolchat.tools.yaml_file import BOOLEAN, NULL, STRING, shown

SERVER_OPTIONS = ("approval", "timeout", "max_result_tokens", "effects", "untrusted")
"""Options of tools that a server, or one of its tools, may have."""
_OWN = ("command", "args", "url", "transport", "headers", "env", "cwd", "privileges", "enabled")
SERVER_KEYS = (*_OWN, "include", "exclude", "prefix", "start_timeout", "roots", "oauth", "tools", *SERVER_OPTIONS)
OAUTH_KEYS = ("client_id", "client_secret", "issuer", "scope", "port")
_FOREIGN = ("command", "args", "url", "type", "transport", "headers", "env", "cwd", "disabled", "enabled")
"""Keys of other programs' files that mean something here."""
_TRANSPORTS = {"http": "http", "streamable-http": "http", "streamableHttp": "http", "sse": "sse"}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SPELLED = {"${env:": "${"}
"""How other programs write a variable of the environment."""


def read_servers(node: yaml.Node, reader: KeyReader, defaults: Mapping[str, Any]) -> list[McpServer]:
    """The servers of a section `mcp` that are not switched off. Of `defaults`, those count that say how long a call may
    take and how long a result may be: whoever allows functions by default has not looked at a server yet."""
    if not isinstance(node, yaml.MappingNode):
        what = f"mcp is {shown(node)}; expected servers by name"
        reader.problems.add(node, f"{what}; write name: {{command: program, args: [word]}}, or name: {{url: …}}")
        return []
    inherited = {key: defaults[key] for key in ("timeout", "max_result_tokens") if key in defaults}
    servers = []
    for key, value in node.value:
        if (name := _name(key, reader)) is None:
            continue
        before = reader.problems.count
        keys = reader.mapping(value, f"the server {name}", SERVER_KEYS)
        if keys is None:
            continue
        said = reader.options({word: keys[word] for word in (*SERVER_OPTIONS, "privileges", "enabled") if word in keys})
        enabled = said.pop("enabled", True)
        server = _server(name, key, keys, reader, {**inherited, **said})
        if enabled and server is not None and reader.problems.count == before:
            servers.append(server)
    return servers


def read_foreign(root: yaml.MappingNode, reader: KeyReader) -> list[McpServer] | None:
    """The servers of a file of another program, by `mcpServers` or `servers`; None where it is none.

    What it says beside how a server is started is that program's own, and is not taken: whoever allowed a tool there
    has not allowed it here.
    """
    sections = {str(key.value): value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    section = next((sections[name] for name in ("mcpServers", "servers") if name in sections), None)
    if section is None or "version" in sections or not isinstance(section, yaml.MappingNode):
        return None
    servers = []
    for key, value in section.value:
        if not isinstance(value, yaml.MappingNode):
            reader.problems.add(value, f"the server is {shown(value)}; expected an object; correct it")
            continue
        name = re.sub(r"[^a-zA-Z0-9_-]+", "_", str(key.value))[:40].strip("_") or "server"
        keys = {str(inner.value): node for inner, node in value.value if isinstance(inner, yaml.ScalarNode)}
        ignored = sorted(keys.keys() - {*_FOREIGN})
        if ignored:
            reader.notice(key, f"of the server {name}, {', '.join(ignored)} is not taken from this file")
        off = [word for word in ("disabled", "enabled") if word in keys and _truth(keys[word]) is (word == "disabled")]
        if off:
            continue
        if "type" in keys:
            kind = str(keys["type"].value)
            del keys["type"]
            if kind in _TRANSPORTS:
                keys.setdefault("transport", yaml.ScalarNode(STRING, kind, value.start_mark, value.end_mark))
        before = reader.problems.count
        server = _server(name, key, {word: keys[word] for word in keys if word in _OWN}, reader, {})
        if server is not None and reader.problems.count == before:
            servers.append(server)
    return servers


def check_servers(servers: list[McpServer], problems: Problems) -> None:
    """Note servers whose tools could not be told apart."""
    first: dict[str, McpServer] = {}
    prefixes: dict[str, McpServer] = {}
    for server in servers:
        known = first.setdefault(server.name, server)
        other = prefixes.setdefault(server.prefix, server)
        if known is not server:
            where = problems.where(known.place)
            problems.add(
                server.place, f'a second server is named "{server.name}"; the first stands at {where}; rename it'
            )
        elif other is not server:
            what = f'the tools of {server.name} and {other.name} begin with "{server.prefix}"'
            problems.add(server.place, f"{what}; expected a prefix: of its own for each; change one")


def _server(
    name: str,
    key: yaml.Node,
    keys: Mapping[str, yaml.Node],
    reader: KeyReader,
    options: Mapping[str, Any],
) -> McpServer | None:
    problems = reader.problems
    command, url = _command(keys, reader), _url(keys, reader)
    if ("command" in keys) == ("url" in keys):
        what = "has both command and url" if "command" in keys else "has neither command nor url"
        problems.add(key, f"the server {name} {what}; expected one of them; {_HOW}")
        return None
    wrong = ("transport", "headers", "oauth") if "command" in keys else ("args", "cwd", "env", "privileges")
    for word in wrong:
        if word in keys:
            beside = "command" if "command" in keys else "url"
            problems.add(keys[word], f"{word} stands beside {beside}, where it means nothing; remove it")
    environment = _environment(keys, reader)
    prefix = reader.prefix(keys) if "prefix" in keys else f"{name}_"
    patterns = {word: reader.patterns(word, keys[word]) for word in ("include", "exclude") if word in keys}
    start = _option("timeout", {"timeout": keys["start_timeout"]}, reader) if "start_timeout" in keys else None
    return McpServer(
        name,
        problems.place(key),
        command,
        url,
        _transport(keys, reader),
        _headers(keys, reader),
        environment.names,
        environment.values,
        _option("cwd", keys, reader),
        patterns.get("include", ()),
        patterns.get("exclude", ()),
        prefix,
        dict(options),
        _tools(keys["tools"], reader) if "tools" in keys else {},
        start if start is not None else 30.0,
        _oauth(keys["oauth"], reader) if "oauth" in keys else OAuth(),
        _roots(keys, reader),
    )


_HOW = "write command: [npx, -y, package@1.2.3], or url: https://…"


def _name(key: yaml.Node, reader: KeyReader) -> str | None:
    name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
    if SERVER_NAME.fullmatch(name):
        return name
    what = f"a server is named {shown(key)}; expected 1 to 40 of the characters a-z A-Z 0-9 _ -"
    reader.problems.add(key, f"{what}; rename it")
    return None


def _command(keys: Mapping[str, yaml.Node], reader: KeyReader) -> tuple[str, ...]:
    if "command" not in keys:
        return ()
    node = keys["command"]
    words: list[str] = []
    if isinstance(node, yaml.SequenceNode):
        words = _texts("command", node, reader)
    elif isinstance(node, yaml.ScalarNode) and node.tag == STRING:
        try:
            # With args the command is a program, whose path may hold blanks.
            words = [node.value] if "args" in keys else shlex.split(node.value)
        except ValueError as error:
            reader.problems.add(
                node, f"command is {shown(node)}, which cannot be split into words: {error}; correct it"
            )
            return ()
    if not words or not words[0].strip():
        reader.problems.add(node, f"command is {shown(node)}; expected a program; {_HOW}")
        return ()
    if "args" in keys:
        words += _texts("args", keys["args"], reader)
    return tuple(map(_own_spelling, words))


def _texts(key: str, node: yaml.Node, reader: KeyReader) -> list[str]:
    items = node.value if isinstance(node, yaml.SequenceNode) else []
    plain = all(isinstance(item, yaml.ScalarNode) and item.tag != "tag:yaml.org,2002:null" for item in items)
    if not isinstance(node, yaml.SequenceNode) or not plain:
        reader.problems.add(node, f"{key} is {shown(node)}; expected a list of words; write {key}: [word, word]")
        return []
    for item in items:
        _check_variables(key, str(item.value), item, reader)
        if "\0" in item.value:
            reader.problems.add(item, f"{key} holds a NUL, which no program can be given; remove it")
    return [str(item.value) for item in items]


def _url(keys: Mapping[str, yaml.Node], reader: KeyReader) -> str:
    if "url" not in keys:
        return ""
    node = keys["url"]
    text = _own_spelling(str(node.value).strip()) if isinstance(node, yaml.ScalarNode) else ""
    _check_variables("url", text, node, reader)
    try:
        parts = urlsplit(text)
        right = (parts.scheme in ("http", "https") and bool(parts.netloc)) or text.startswith("${")
    except ValueError:
        right = False
    if not right or any(character.isspace() or not character.isprintable() for character in text):
        reader.problems.add(node, f"url is {shown(node)}; expected https://host/path; correct it")
        return ""
    host = (parts.hostname or "").lower()
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1", "::1") and keys.get("headers") is not None:
        reader.notice(node, f"headers go to {host} unencrypted (http); expected https where they hold a secret")
    return text


def _transport(keys: Mapping[str, yaml.Node], reader: KeyReader) -> str:
    if "transport" not in keys:
        return ""
    word = str(keys["transport"].value)
    if word not in _TRANSPORTS:
        fix = did_you_mean(word, ("http", "sse"), "leave it out")
        reader.problems.add(keys["transport"], f"transport is {shown(keys['transport'])}; expected http or sse; {fix}")
    return _TRANSPORTS.get(word, "")


def _headers(keys: Mapping[str, yaml.Node], reader: KeyReader) -> tuple[tuple[str, str], ...]:
    if "headers" not in keys:
        return ()
    node = keys["headers"]
    if not isinstance(node, yaml.MappingNode):
        reader.problems.add(
            node, f'headers is {shown(node)}; expected a mapping; write {{Authorization: "Bearer ${{T}}"}}'
        )
        return ()
    found: list[tuple[str, str]] = []
    for key, value in node.value:
        name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
        text = _own_spelling(value.value) if isinstance(value, yaml.ScalarNode) else ""
        if not _HEADER.fullmatch(name) or not text or any(ord(character) < 32 for character in text):
            reader.problems.add(key, f"headers holds {shown(key)}; expected a name and one line of text; correct it")
            continue
        _check_variables(name, text, value, reader)
        if looks_expanded(text) is None and name.lower() in ("authorization", "x-api-key", "api-key", "cookie"):
            what = f"{name} holds its secret as text"
            reader.notice(value, f"{what}; write ${{NAME}}, and set the variable, to keep it out of the file")
        found.append((name, text))
    return tuple(found)


def _tools(node: yaml.Node, reader: KeyReader) -> dict[str, dict[str, Any]]:
    if not isinstance(node, yaml.MappingNode):
        what = f"tools is {shown(node)}; expected options by the server's names for its tools"
        reader.problems.add(node, f"{what}; write {{read_file: {{approval: allow}}}}")
        return {}
    found: dict[str, dict[str, Any]] = {}
    for key, value in node.value:
        keys = reader.mapping(value, f"the tool {shown(key)}", SERVER_OPTIONS)
        if keys is not None:
            found[str(key.value)] = reader.options(keys)
    return found


def _oauth(node: yaml.Node, reader: KeyReader) -> OAuth:
    keys = reader.mapping(node, "oauth", OAUTH_KEYS)
    if keys is None:
        return OAuth()
    said: dict[str, str] = {}
    for word, value in keys.items():
        text = _own_spelling(value.value) if isinstance(value, yaml.ScalarNode) and value.tag != NULL else ""
        if not text.strip() or not text.isprintable():
            reader.problems.add(value, f"{word} is {shown(value)}; expected one line of text; correct it")
            continue
        _check_variables(word, text, value, reader)
        said[word] = text
    port = said.pop("port", "")
    right = re.fullmatch(r"\d{4,5}", port, re.ASCII) and 1024 <= int(port) <= 65535
    if port and not right:
        reader.problems.add(keys["port"], f"port is {shown(keys['port'])}; expected 1024 to 65535; correct it")
        port = ""
    if "client_secret" in said and "client_id" not in keys:
        reader.problems.add(keys["client_secret"], "client_secret stands without client_id; add that")
    elif "client_secret" in said and "issuer" not in keys:
        what = "client_secret stands without issuer, the authorization server that it is for"
        reader.problems.add(keys["client_secret"], f"{what}; add issuer: https://…")
    issuer = said.get("issuer", "https://")
    if not issuer.startswith(("https://", "http://", "${")) or any(character.isspace() for character in issuer):
        reader.problems.add(keys["issuer"], f"issuer is {shown(keys['issuer'])}; expected https://host; correct it")
    if "client_secret" in said and looks_expanded(said["client_secret"]) is None:
        what = "client_secret holds its secret as text"
        reader.notice(keys["client_secret"], f"{what}; write ${{NAME}}, and set the variable, to keep it out of there")
    return OAuth(**said, port=int(port or 0))


def _roots(keys: Mapping[str, yaml.Node], reader: KeyReader) -> bool:
    if "roots" not in keys:
        return False
    if (truth := _truth(keys["roots"])) is None:
        reader.problems.add(keys["roots"], f"roots is {shown(keys['roots'])}; expected true or false; correct it")
    return bool(truth)


def _environment(keys: Mapping[str, yaml.Node], reader: KeyReader) -> Environment:
    if "env" not in keys:
        return Environment()
    try:
        # Unlike a tool's host, no process of toolchat's own obeys them.
        read = read_environment("env", keys["env"], any_name=True)
    except OptionError as error:
        reader.problems.add(error.node or keys["env"], str(error))
        return Environment()
    return Environment(read.names, tuple((name, _own_spelling(text)) for name, text in read.values))


def _option(name: str, keys: Mapping[str, yaml.Node], reader: KeyReader) -> Any:
    if name not in keys:
        return None
    option = next(option for option in OPTIONS if option.name == name)
    try:
        return option.read(name, keys[name])
    except OptionError as error:
        reader.problems.add(error.node or keys[name], str(error))
        return None


def _check_variables(key: str, text: str, node: yaml.Node, reader: KeyReader) -> None:
    if "${input:" in text:
        what = f"{key} asks for an input of another program"
        reader.problems.add(node, f"{what}; expected a variable of the environment; write ${{NAME}}, and set it")
    for name in names_in(text):
        try:
            check_not_own(key, name, node)
        except OptionError as error:
            reader.problems.add(node, str(error))


def _own_spelling(text: str) -> str:
    for theirs, ours in _SPELLED.items():
        text = text.replace(theirs, ours)
    return text


def _truth(node: yaml.Node) -> bool | None:
    return node.value.lower() == "true" if isinstance(node, yaml.ScalarNode) and node.tag == BOOLEAN else None
