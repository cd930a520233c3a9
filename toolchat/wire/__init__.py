"""The bottom room: messages, deltas, events, errors. Imports nothing else of toolchat, and nothing heavy."""
