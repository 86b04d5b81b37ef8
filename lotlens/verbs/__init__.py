"""One file for each thing that a person can ask for, named as the command is.

A verb joins the rooms and knows run folders; it prints nothing. `lotlens` offers them all.
"""
