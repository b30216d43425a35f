"""procfs (proc(5)): tables of names and functions, a module for each part of the tree."""
