"""What runs guests: one small interface, and the platforms that implement it."""
