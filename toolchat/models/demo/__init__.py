"""The built-in demo model: SmolLM2-135M-Instruct in Mistral's format, taught Mistral's tool-calling protocol.

`build` owns how it is fetched, built, checked and removed. Nothing here loads it: that is the engine's work.
"""
