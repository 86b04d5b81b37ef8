"""What to do about a model's errors: doubtful photos, outside photos, and a gate."""
