"""The built-in demo model: SmolLM2-135M-Instruct in Mistral's format, taught Mistral's tool-calling protocol.

Owns how it is fetched, built, checked and removed. Never loads it: that is the engine's work.
"""

from __future__ import annotations

from toolchat.models.demo.build import build, demo_folder, is_built, remove

__all__ = ["build", "demo_folder", "is_built", "remove"]
