"""The engine's worker: a process that renders the chat, constrains generation and parses what vLLM generates.

Run as `python -m toolchat.engine.worker`. Only `server` and `loading` import vllm or torch.
"""
