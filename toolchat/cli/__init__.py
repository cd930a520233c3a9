"""What a person types: one small module per command group; everything heavy is imported inside the commands."""
