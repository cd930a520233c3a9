"""Markdown for a terminal while it is still being written: what is final is given out once, the rest can be drawn.

Nothing heavy is imported before the first text needs it, since the prompt must not wait for it.
"""

from toolchat.ui.markdown.stream import MarkdownStream

__all__ = ["MarkdownStream"]
