"""Records become one self-contained HTML file."""
