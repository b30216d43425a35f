"""The kernel proper: tasks, scheduling, signals, credentials, descriptors."""
