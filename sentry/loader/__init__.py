"""From a file to a runnable address space: ELF, scripts, the initial stack."""
