"""Shared data types: messages, deltas, events, errors. Imports nothing else of toolchat, and nothing heavy."""
