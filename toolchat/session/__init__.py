"""A chat put together: how it starts, what may be done to it while it goes on, and where its events go."""
