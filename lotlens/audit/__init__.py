"""What is wrong with the photos, and which of them judge and which train."""
