"""Renders Markdown in a terminal while it is being written: final rows are given out once, the rest can be drawn.

Nothing heavy is imported before the first text needs it, since the prompt must not wait for it.
"""
