"""The virtual file system and every file system type on it."""
