"""The processes that Python tools run in, and the chat's end of them.

The chat (`supervisor`, `client`, `call`, `process_client`) starts a host for each share of a file's tools (`server`),
which imports their modules and forks a child for each call (`child`). Each host is the child of a `guardian`,
which ends what a killed host leaves. The chat talks to the host about processes, and to each child about its call, by
`channel` and `protocol`. What imports a user's modules (`server`, `child`) never runs in the chat's process;
`confine` says what they may not do.
"""
