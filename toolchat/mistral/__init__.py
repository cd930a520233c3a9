"""The wire formats of Mistral's models: parsing token ids, grammars, ids. Pure; nothing here imports vLLM."""
