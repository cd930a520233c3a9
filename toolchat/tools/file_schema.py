"""Generates the JSON Schema of tools files, for editors, from the tables of the reader itself."""

from __future__ import annotations

from typing import Any

from toolchat.tools.file_keys import FREE_KEYS, MAX_DESCRIPTION, METHOD_KEYS
from toolchat.tools.keywords import KEYWORDS
from toolchat.tools.mcp.entry import SERVER_NAME
from toolchat.tools.mcp.reading import SERVER_OPTIONS
from toolchat.tools.options import OPTIONS

_TEXT = {"type": "string", "pattern": r"\S"}
_WORD = r"[^\s:./0-9-][^\s:./-]*"
_CALLABLE = (
    rf"^(\./([^/:]+/)*[^/:]+\.py|(?!.*\.py:){_WORD}(\.{_WORD})*)"
    rf":({_WORD}(\.{_WORD})*|[^\s:./-]*\*[^\s:./-]*)$"
)
_NAME = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}
_METHOD = r"^(?!__)[^\W\d]\w*$"
_PATTERNS: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}


def file_schema() -> dict[str, Any]:
    """A JSON Schema (draft 7) that every right tools file fits.

    It says what can be said without the functions: not every file that fits it is right.
    """
    options = {option.name: option.schema for option in OPTIONS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "toolchat tools file",
        "description": "The Python functions and programs that a model may call.",
        "type": "object",
        "required": ["version"],
        "anyOf": [{"required": ["tools"]}, {"required": ["mcp"]}],
        "additionalProperties": False,
        "patternProperties": {f"^{FREE_KEYS}": {"description": "What tools merge by <<: *name."}},
        "properties": {
            "version": {"const": 1, "description": "Of this format."},
            "defaults": {
                "type": "object",
                "additionalProperties": False,
                "properties": options,
                "description": "Options of every tool that does not say otherwise itself.",
            },
            "tools": {"type": "array", "items": _tool(options), "description": "In the order the model sees them."},
            "mcp": {
                "type": "object",
                "propertyNames": {"pattern": f"^{SERVER_NAME.pattern}$"},
                "additionalProperties": _server(options),
                "description": "Servers of the Model Context Protocol, by name: their tools are tools, too.",
            },
        },
    }


def _server(options: dict[str, Any]) -> dict[str, Any]:
    words = {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
    own = {name: options[name] for name in (*SERVER_OPTIONS, "privileges", "cwd")}
    environment = {name: {"type": ["string", "number", "null"]} for name in ("additionalProperties",)}
    return {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": ["command"]}, {"required": ["url"]}],
        "properties": {
            "command": {
                "anyOf": [_TEXT, {**words, "minItems": 1}],
                "description": "The program that is the server; it speaks on its standard streams.",
            },
            "args": {**words, "description": "The program's arguments. Texts may hold ${NAME}."},
            "url": {
                "type": "string",
                "pattern": r"^(https?://|\$\{)",
                "description": "The address of a server (streamable HTTP, or HTTP with SSE). May hold ${NAME}.",
            },
            "transport": {"enum": ["http", "sse", "streamable-http"], "description": "Of a url. Default: found out."},
            "headers": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": 'Of a url: sent with each request, as Authorization: "Bearer ${TOKEN}".',
            },
            "oauth": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "client_id": {**_TEXT, "description": "Of toolchat, where you have registered it yourself."},
                    "client_secret": {**_TEXT, "description": "To it, where there is one: ${NAME}."},
                    "issuer": {
                        **_TEXT,
                        "description": "The authorization server that the secret is for, as https://host.",
                    },
                    "scope": {**_TEXT, "description": "What a login is to cover. Default: what the server asks for."},
                    "port": {"type": "integer", "minimum": 1024, "maximum": 65535, "description": "Of 127.0.0.1."},
                },
                "dependencies": {"client_secret": ["client_id", "issuer"]},
                "description": "Of a url: how `toolchat tools mcp login` logs in there. Mostly needs nothing.",
            },
            "env": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "object", **environment}],
                "description": "Names of environment variables that it sees beyond the basic ones; or a mapping of "
                "variables to values, which may hold ${NAME}.",
            },
            "enabled": {"type": "boolean", "description": "false leaves the server out. Default: true."},
            "include": {**_PATTERNS, "description": "The server's names of tools to take, * standing for any."},
            "exclude": {**_PATTERNS, "description": "The server's names of tools to leave out."},
            "prefix": {
                "type": "string",
                "pattern": "^[a-zA-Z0-9_-]{1,63}$",
                "description": "What its tools' names begin with. Default: the server's name and _.",
            },
            "roots": {
                "type": "boolean",
                "description": "true tells it that it may ask for the folder you are in. Some servers take that in "
                "place of the folders that their arguments name. Default: false.",
            },
            "start_timeout": {**options["timeout"], "description": "Until it has told its tools. Default: 30."},
            "tools": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {name: options[name] for name in SERVER_OPTIONS},
                },
                "description": "What is to be said of single tools, by the server's names; * stands for any.",
            },
            **own,
        },
    }


def _tool(options: dict[str, Any]) -> dict[str, Any]:
    callable_ = {"type": "string", "pattern": _CALLABLE}
    return {
        "anyOf": [
            {**callable_, "description": "module:function, with all that it says of itself."},
            {
                "type": "object",
                "additionalProperties": False,
                # `include` with `callable` or `package` is a list of names.
                "anyOf": [{"required": [source]} for source in ("callable", "command", "package")]
                + [{"required": ["include"], "properties": {"include": _TEXT}}],
                "properties": {**_keys(callable_), **options},
            },
        ]
    }


def _keys(callable_: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "additionalProperties": {
            "anyOf": [_TEXT, {"type": "object", "additionalProperties": False, "properties": KEYWORDS}]
        },
        "description": "What its signature and docstring do not say: by parameter a description, or keywords "
        "that are told to the model and enforced.",
    }
    arguments = {
        "type": "object",
        "propertyNames": {"pattern": r"^[^\W\d]\w*$"},
        "description": "Values that the model neither sees nor sets: of a function, or of a class's constructor. Texts "
        "may hold ${NAME}.",
    }
    description = {
        **_TEXT,
        "maxLength": MAX_DESCRIPTION,
        "description": "How the model chooses. Default: the docstring's first paragraph; of a method all of it.",
    }
    of_method = {"name": _NAME, "description": description, "parameters": parameters, "arguments": arguments}
    of_method |= {option.name: option.schema for option in OPTIONS if option.name in METHOD_KEYS}
    return {
        "callable": {
            **callable_,
            "description": "module:function, or ./file.py:function from this file's folder. A class in the "
            "function's place makes its public methods tools; Class.method and object.method are one tool; "
            "* in the name stands for several functions.",
        },
        "name": {
            **_NAME,
            "description": "What the model calls it. Default: the function's name. Of a class: what the names of "
            "its tools begin with.",
        },
        "description": description,
        "parameters": parameters,
        "arguments": arguments,
        "methods": {
            "anyOf": [
                {"type": "array", "items": {"type": "string", "pattern": _METHOD}, "minItems": 1, "uniqueItems": True},
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": _METHOD},
                    "additionalProperties": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": of_method,
                    },
                },
            ],
            "description": "Of a class: those of its methods that are tools; or what is to be said of single ones. "
            "Default: all public ones.",
        },
        "include": {
            "anyOf": [_TEXT, _PATTERNS],
            "description": "Another tools file; beside callable or package the names to take, * standing for any.",
        },
        "exclude": {**_PATTERNS, "description": "Names to leave out, * standing for any."},
        "prefix": {
            "type": "string",
            "pattern": "^[a-zA-Z0-9_-]{1,63}$",
            "description": "What the name of each of its tools begins with.",
        },
        "instance": {**_TEXT, "description": "Entries of one class with the same word here share its object."},
        "command": {
            "anyOf": [
                _TEXT,
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "anyOf": [
                            {"type": ["string", "integer"]},
                            {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}},
                        ]
                    },
                },
            ],
            "description": "A program and its arguments, with {parameters}; words in a list of their own are left out "
            "together where a parameter is null.",
        },
        "stdin": {"type": "string", "description": "Of a command: what it reads, with {parameters}."},
        "shell": {"type": "boolean", "description": "Of a command: whether /bin/sh reads it. Default: false."},
        "package": {**_TEXT, "description": "An installed package that offers tools as entry points toolchat.tools."},
    }
