"""The processes that tools run in, and the chat's end of them.

The chat starts a host for each share of a file's tools: it imports their modules and forks a child for each call. Each
host is the child of a guardian, which ends what a killed host leaves. The chat talks to the host about processes, and
to each child about its call. What imports a user's modules (`server`, `child`, `execute`, `loading`) never runs in the
chat's process; `confine` says what they may not do.
"""
