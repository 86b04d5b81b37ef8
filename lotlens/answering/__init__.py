"""A network answers for photos."""
