"""What is stored of a session."""
