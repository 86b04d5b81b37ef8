"""Out of the laboratory: submissions and runtimes; free of torch."""
