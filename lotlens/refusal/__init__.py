"""When no name is given."""
