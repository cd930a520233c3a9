"""The sample tools that the packaged tools.yaml points at."""
