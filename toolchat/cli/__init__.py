"""What a person types: one module per group of commands; everything heavy is imported inside the commands."""
