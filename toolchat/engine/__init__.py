"""Where tokens come from: the `Engine` protocol and its implementations."""
