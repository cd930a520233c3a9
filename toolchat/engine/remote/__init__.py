"""Engines on a server: a process that asks it what it is, and speaks to it by token ids or by chat completions.

Run as `python -m toolchat.engine.remote`. Imports neither vllm nor torch; only this process imports the HTTP client.
"""
