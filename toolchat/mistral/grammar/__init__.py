"""Grammars for vLLM's structured outputs, under which a model can write only well-formed calls of the tools it has."""
