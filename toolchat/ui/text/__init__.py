"""Text for terminals: widths in cells, wrapping, styles, sanitising. Each exists once, and all of `ui` uses it."""
