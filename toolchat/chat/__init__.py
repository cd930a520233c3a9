"""A turn: the conversation, the loop, its limits. Nothing here prints, and nothing here knows vLLM."""
