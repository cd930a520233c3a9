"""toolchat: a terminal chat with a local Mistral model that can call your Python functions."""

__version__ = "0.1.0"
