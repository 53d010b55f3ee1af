/*
 * A vector add through the C runtime, on the simulated hardware.
 *
 *     vta export vadd.o -o vadd.bin --format bin
 *     cc -std=c99 -Idriver/c -Isim/rtl/model examples/c_runtime.c driver/c/vta.c LIBRARY -o vadd
 *     ./vadd vadd.bin
 *
 * LIBRARY is the simulator; docs/c_runtime.md says how to make it and the program. On a board, the four callbacks read and write the machine's
 * registers and clean the processor's cache; the rest stays as it is.
 */
#include <stdio.h>
#include <string.h>

#include "simulator.h"
#include "vta.h"

#define BUFFERS 16

/* The machine's memory. Addresses count from its first byte. */
static uint8_t memory[1 << 20], dirty[(1 << 20) / 4096];
static uint8_t file[1 << 18];

static int read_register(void *context, uint32_t offset, uint32_t *value)
{
    return vta_read(context, offset, value);
}

static int write_register(void *context, uint32_t offset, uint32_t value)
{
    return vta_write(context, offset, value);
}

/* Machine and processor see the same memory, so there is no cache to care for. */
static int flush(void *context, const void *data, uint64_t address, size_t bytes)
{
    (void)context, (void)data, (void)address, (void)bytes;
    return 0;
}

static int invalidate(void *context, void *data, uint64_t address, size_t bytes)
{
    return flush(context, data, address, bytes);
}

/* The next part of the machine's memory. */
static vta_memory take(uint64_t *used, uint64_t bytes)
{
    vta_memory part;

    part.data = memory + *used;
    part.address = *used;
    part.bytes = *used + bytes <= sizeof memory ? (size_t)bytes : 0;
    *used += bytes;
    return part;
}

static int fail(const vta_machine *machine, const vta_program *program, vta_status status)
{
    char text[160];

    vta_explain(machine, program, status, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    return 1;
}

static size_t read_file(const char *name)
{
    FILE *in = fopen(name, "rb");
    size_t bytes = 0;

    if (in != NULL) {
        bytes = fread(file, 1, sizeof file, in);
        fclose(in);
    }
    return bytes;
}

/* Loads the program, and gives every buffer its memory. */
static vta_status load(vta_program *program, vta_buffer *buffers, size_t bytes)
{
    uint64_t used = 4096;
    vta_status status = vta_load(program, file, bytes, buffers, BUFFERS);
    uint32_t index;

    if (status == VTA_OK) {
        status = vta_place(program, take(&used, vta_workspace_bytes(program)));
    }
    for (index = 0; status == VTA_OK && index < program->buffer_count; index++) {
        if (buffers[index].role == VTA_ROLE_INPUT || buffers[index].role == VTA_ROLE_OUTPUT) {
            status = vta_bind(program, index, take(&used, vta_room(program, &buffers[index])));
        }
    }
    return status;
}

/* Adds numbers on the machine and on the processor; how many results differ. */
static vta_status add(vta_machine *machine, vta_program *program, uint32_t *wrong)
{
    const vta_buffer *buffers = program->buffers;
    int32_t *a = buffers[0].memory.data, *b = buffers[1].memory.data;
    int8_t *c = buffers[2].memory.data;
    uint32_t index;
    vta_status status;

    for (index = 0; index < buffers[2].bytes; index++) {
        a[index] = (int32_t)(index * 7919) % 1000 - 500;
        b[index] = 300 - (int32_t)(index * 104729) % 600;
    }
    status = vta_launch(machine, program);
    if (status == VTA_OK) {
        status = vta_wait(machine, 1000000);
    }
    for (index = 0, *wrong = 0; index < buffers[2].bytes; index++) {
        *wrong += (uint8_t)c[index] != (uint8_t)(a[index] + b[index]);
    }
    return status;
}

int main(int count, char **words)
{
    vta_settings settings;
    vta_host host;
    vta_machine machine;
    vta_program program;
    vta_buffer buffers[BUFFERS];
    vta_status status;
    vta_sim *sim;
    uint32_t wrong = 0;

    if (count != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", words[0]);
        return 2;
    }
    memset(&settings, 0, sizeof settings);
    settings.memory = memory;
    settings.memory_bytes = sizeof memory;
    settings.dirty = dirty;
    settings.latency = 20;
    settings.write_response = 1;
    settings.max_burst = 256;
    sim = vta_create(&settings);

    host.context = sim;
    host.read = read_register;
    host.write = write_register;
    host.flush = flush;
    host.invalidate = invalidate;
    status = load(&program, buffers, read_file(words[1]));
    if (status == VTA_OK) {
        status = vta_open(&machine, &host);
    }
    if (status == VTA_OK) {
        status = add(&machine, &program, &wrong);
    }
    vta_destroy(sim);
    if (status != VTA_OK) {
        return fail(&machine, &program, status);
    }
    printf("%s: %u of %u values differ, %u cycles\n", program.name, (unsigned)wrong,
           (unsigned)buffers[2].bytes, (unsigned)machine.cycles);
    return wrong != 0;
}
