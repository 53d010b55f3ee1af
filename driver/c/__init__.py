"""The runtime in C, for hosts without Python: `vta.h` and `vta.c`. Read `vta.h` first."""
