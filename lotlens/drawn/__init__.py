"""What lotlens draws itself: the sample lot, pictures of no car, files that programs get wrong."""
