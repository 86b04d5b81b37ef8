"""Many trainings on one split, and which of them is better."""
