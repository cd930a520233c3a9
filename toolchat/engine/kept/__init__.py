"""Engines that stay loaded after the command that started them: where they are found, asked and ended."""
