/*
 * Loads whatever comes on standard input, each time a length and as many bytes, and answers with the
 * status in one byte. What loads is run too, on a machine that ends at once. Every file has memory
 * of exactly its size, so that a sanitizer sees a read beyond its end.
 */
#include <stdlib.h>

#include "bare.h"
#include "vta.h"

#define BUFFERS 8u
#define MOST (1u << 20)

/* Whatever is read goes here, so that no read is left out. */
static volatile uint32_t sink;

typedef struct model {
    const vta_program *program;
    uint32_t control;
    uint32_t sum; /* of all that is flushed, so that it is read */
} model;

static int read_register(void *context, uint32_t offset, uint32_t *value)
{
    model *machine = context;

    *value = 0;
    if (offset == VTA_REG_ID) {
        *value = VTA_ID;
    } else if (offset == VTA_REG_VERSION) {
        *value = VTA_VERSION_0_0_3;
    } else if (offset == VTA_REG_CONFIG_0 || offset == VTA_REG_CONFIG_1) {
        *value = machine->program->config[(offset - VTA_REG_CONFIG_0) / 4];
    } else if (offset == VTA_REG_CONFIG_2) {
        *value = 32; /* bits of an address */
    } else if (offset == VTA_REG_CONTROL) {
        *value = machine->control;
    }
    return 0;
}

static int write_register(void *context, uint32_t offset, uint32_t value)
{
    model *machine = context;

    if (offset == VTA_REG_CONTROL) {
        machine->control = value == VTA_CONTROL_LAUNCH_MASK ? VTA_CONTROL_DONE_MASK : 0;
    }
    return 0;
}

static int flush(void *context, const void *data, uint64_t address, size_t bytes)
{
    model *machine = context;
    const uint8_t *each = data;

    (void)address;
    while (bytes-- > 0) {
        machine->sum += *each++;
    }
    return 0;
}

static int invalidate(void *context, void *data, uint64_t address, size_t bytes)
{
    uint8_t *each = data;

    (void)context;
    (void)address;
    while (bytes-- > 0) {
        *each++ = 1;
    }
    return 0;
}

static vta_memory take(uint64_t bytes)
{
    vta_memory memory;

    memory.data = calloc(1, bytes > 0 ? (size_t)bytes : 1);
    memory.address = 0x80000000u;
    memory.bytes = (size_t)bytes;
    return memory;
}

static vta_status run(vta_program *program, uint32_t *sum)
{
    model context = {program, 0, 0};
    const vta_host host = {&context, read_register, write_register, flush, invalidate};
    vta_memory memory[BUFFERS + 1];
    vta_machine machine;
    vta_status status;
    const char *name;
    uint32_t index, dim, found;

    for (name = program->name; *name != 0; name++) {
        *sum += (uint32_t)*name;
    }
    memory[BUFFERS] = take(vta_workspace_bytes(program));
    status = vta_place(program, memory[BUFFERS]);
    for (index = 0; index < program->buffer_count; index++) {
        for (dim = 0; dim < program->buffers[index].dims; dim++) {
            *sum += vta_extent(&program->buffers[index], dim);
        }
        if (vta_find(program, program->buffers[index].name, &found) || found > index) {
            abort();
        }
        memory[index] = take(vta_room(program, &program->buffers[index]));
        vta_bind(program, index, memory[index]);
    }
    if (status == VTA_OK) {
        status = vta_open(&machine, &host);
    }
    if (status == VTA_OK) {
        status = vta_launch(&machine, program);
    }
    if (status == VTA_OK) {
        status = vta_wait(&machine, 1);
    }
    *sum += context.sum;
    free(memory[BUFFERS].data);
    for (index = 0; index < program->buffer_count; index++) {
        free(memory[index].data);
    }
    return status;
}

/* Bytes that the arrays of a program take in all. */
static uint64_t total(const vta_program *program)
{
    uint64_t bytes = vta_workspace_bytes(program);
    uint32_t index;

    for (index = 0; index < program->buffer_count; index++) {
        bytes += vta_room(program, &program->buffers[index]);
    }
    return bytes;
}

int main(void)
{
    vta_buffer buffers[BUFFERS];
    vta_program program;
    vta_status status;
    uint8_t length[4], answer, *file;
    uint32_t size;
    uint32_t sum = 0;

    for (;;) {
        get_bytes(length, 4);
        size = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16;
        if (length[3] != 0) {
            sink = sum;
            return 0;
        }
        file = malloc(size > 0 ? size : 1);
        if (size == 0) {
            free(file);
            file = NULL;
        } else {
            get_bytes(file, size);
        }
        status = vta_load(&program, file, size, buffers, BUFFERS);
        if (status == VTA_OK && total(&program) < MOST) {
            status = run(&program, &sum);
        }
        answer = (uint8_t)status;
        put_bytes(&answer, 1);
        free(file);
    }
}
