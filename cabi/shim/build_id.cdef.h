/* A digest of pysc's sources, 32 hexadecimal digits. */
const char *pysc_build_id(void);
