"""How good a model is, and how sure we are; free of torch."""
