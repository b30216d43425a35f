"""What the processes say to each other: one module per pair of peers."""
