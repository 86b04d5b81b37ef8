"""What a recipe may say; the built-in ones lie here as YAML."""
