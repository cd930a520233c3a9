"""The processes that tools run in, and the chat's end of them.

The chat starts one host, which imports the tools file's modules and forks a child for each call. The chat talks to
the host about processes, and to each child about its call. `channel`, `processes`, `environment`, `opened` and
`output` are light; what imports a user's modules (`server`, `child`, `execute`) never runs in the chat's process.
"""
