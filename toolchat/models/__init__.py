"""Which model: names, files on disk, defaults, and the built-in demo model."""
