"""The handlers of system calls, a file a subject, and the table that names every number."""
