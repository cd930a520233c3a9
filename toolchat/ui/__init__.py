"""What a person sees: renderers of the event stream, and the REPL. Nothing here runs tools or talks to vLLM."""
