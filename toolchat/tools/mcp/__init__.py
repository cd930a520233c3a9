"""Servers of the Model Context Protocol as tools.

`bridge` is a process of its own, the only one that imports the `mcp` SDK: it holds every session. `client` is the
chat's view of it. What servers say is a stranger's text: it is bounded and cleaned here, and never a reason to skip
a question.
"""
