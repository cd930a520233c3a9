"""The engine's worker: a process that renders the chat, constrains generation and parses what vLLM generates.

Run as `python -m toolchat.engine.worker`. Only `server`, `loading` and `stages` import vllm or torch.
"""
