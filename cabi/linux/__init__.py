"""The Linux ABI as seen by x86-64 programs: errnos, constants, structure layouts."""
