"""A finished run opened, and what leaves it; free of torch."""
