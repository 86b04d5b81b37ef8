"""Pages served on this machine, and what is entered on them."""
