/* SHA-256 (FIPS 180-4) of `size` bytes, 32 bytes: for starts, which must not pay for loading a library. */
void pysc_sha256(const char *data, uint64_t size, unsigned char *digest);
