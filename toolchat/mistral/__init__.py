"""The wire formats of Mistral's models: rendering, parsing, grammars, token counts. Pure; imports no vLLM."""
