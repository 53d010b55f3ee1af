// The C interface of a library that holds a verilated device and its memory.

#ifndef VTA_SIMULATOR_H
#define VTA_SIMULATOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Bits of a change's word, see vta_record.
#define VTA_RECORD_BITS 24

typedef struct vta_sim vta_sim;

typedef struct {
    uint8_t* memory;          // byte 0 of the address space
    uint64_t memory_bytes;    // whole pages; the bus answers DECERR beyond
    uint8_t* dirty;           // one byte for each page of 4096, set to 1 by writes
    uint64_t latency;         // cycles from a read burst's address to its first beat, 1 or more
    uint64_t write_response;  // cycles from a write's last beat to its response, 1 or more
    uint64_t outstanding;     // bursts in flight, reads and writes apart; 0 for no limit
    uint64_t stall_seed;
    uint32_t stalls;     // 1 for random stalls on every channel
    uint32_t max_burst;  // beats; a longer burst is a violation
    uint64_t order_seed;
    uint32_t reorder;    // 1 for reads of different identifiers out of order and interleaved
    const char* waves;   // file to trace into, or NULL; needs a library built for tracing
} vta_settings;

// A device just out of reset. It never fails.
vta_sim* vta_create(const vta_settings* settings);
void vta_destroy(vta_sim* sim);

// Runs up to `cycles` cycles; ends early at a violation, at a failed
// assertion and, if asked, when the interrupt is high.
// Returns how many cycles it ran.
uint64_t vta_step(vta_sim* sim, uint64_t cycles, int until_irq);

// One transaction on the register interface. Returns 0, or 1 if there was no answer, 2 if the
// answer was an error, 3 after a violation on the memory bus or a failed assertion.
int vta_read(vta_sim* sim, uint32_t addr, uint32_t* value);
int vta_write(vta_sim* sim, uint32_t addr, uint32_t value);

// Starts to record, forgetting what was recorded before, or stops. A record is a list of changes,
// `cycle << VTA_RECORD_BITS | word`: from that cycle on, until the next change, the word is
//   bits 14:0  the output port `events`
//   bit 15     a beat of read data was taken
//   bit 16     a beat of write data was taken
//   bit 17     memory had a burst to answer, asked for in a cycle before
void vta_record(vta_sim* sim, int on);

// How many changes there are, and where they begin: valid until the simulation goes on.
uint64_t vta_changes(const vta_sim* sim, const uint64_t** changes);

// Cycles since creation, reset included.
uint64_t vta_cycle(const vta_sim* sim);

// The first violation of the bus protocol or failed assertion; empty if there was none.
const char* vta_error(const vta_sim* sim);

#ifdef __cplusplus
}
#endif

#endif
