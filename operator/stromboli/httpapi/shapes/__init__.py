"""What callers send, and what they are answered: pydantic models in Stromboli's names. Pure."""
