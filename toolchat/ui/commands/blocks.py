"""Finds the code blocks and tables of an answer, so that one of them can be copied."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """What can be copied by itself."""

    kind: str
    """The language of code, or "code", or "table"."""
    text: str


def blocks(answer: str) -> list[Block]:
    """The code blocks, without their fences, and the tables, as they were written, of a text in Markdown."""
    from markdown_it import MarkdownIt

    lines = answer.split("\n")
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(answer):
        match token.type:
            case "fence":
                language = (token.info.split() or ["code"])[0]
                found.append(Block(language, token.content.removesuffix("\n")))
            case "code_block":
                found.append(Block("code", token.content.removesuffix("\n")))
            case "table_open" if token.map is not None:
                rows = lines[token.map[0] : token.map[1]]
                found.append(Block("table", "\n".join(rows).strip("\n")))
    return found
