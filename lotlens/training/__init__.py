"""A run from recipe to card."""
