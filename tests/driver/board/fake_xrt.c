// XRT's functions on ordinary memory, for the tests. `log_sync` has the last synchronisation.
#include <stdint.h>
#include <stdlib.h>

static uint8_t memory[1 << 22];
int opened, limit = 1 << 22, fail_map, fail_sync;
uint64_t log_sync[3];

void* xrtDeviceOpen(unsigned index) { return index == 0 && opened >= 0 ? (opened++, memory) : 0; }
int xrtDeviceClose(void* device) { return --opened, device != memory; }
void* xrtBOAlloc(void* device, size_t bytes, uint64_t flags, uint32_t group) {
    return device == memory && bytes <= (size_t)limit && flags == 1 << 24 && !group ? memory + 1 : 0;
}
int xrtBOFree(void* buffer) { return buffer != memory + 1; }
uint64_t xrtBOAddress(void* buffer) { return buffer == memory + 1 ? 0x17000000 : 0; }
void* xrtBOMap(void* buffer) { return buffer == memory + 1 && !fail_map ? memory : 0; }
int xrtBOSync(void* buffer, int direction, size_t bytes, size_t offset) {
    log_sync[0] = direction, log_sync[1] = bytes, log_sync[2] = offset;
    return buffer != memory + 1 || fail_sync;
}
