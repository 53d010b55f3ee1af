/*
 * A host whose machine is at the other end of its standard input and output, as
 * tests/driver/c/bridge.py serves it. All numbers are 32 bits, little-endian.
 *
 * It gets the size of a program, the program, the address of its memory in the machine, a limit of
 * polls and a number of runs. It then sends requests, each an operation and two numbers:
 *
 *     r offset 0         the value of a register comes back
 *     w offset value
 *     f address bytes    the bytes follow
 *     i address bytes    the bytes come back
 *     a buffer bytes     an input's bytes come back
 *     o buffer bytes     an output's bytes follow
 *     e status count     the end; `count` numbers follow
 */
#include "bare.h"
#include "vta.h"

#define ROOM 65536u
#define BUFFERS 16u

static uint8_t file[ROOM], memory[ROOM];

static uint32_t unpack(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void pack(uint8_t *bytes, uint32_t number)
{
    bytes[0] = (uint8_t)number;
    bytes[1] = (uint8_t)(number >> 8);
    bytes[2] = (uint8_t)(number >> 16);
    bytes[3] = (uint8_t)(number >> 24);
}

static uint32_t get_number(void)
{
    uint8_t bytes[4];

    get_bytes(bytes, 4);
    return unpack(bytes);
}

static void request(char operation, uint32_t first, uint32_t second)
{
    uint8_t bytes[9];

    bytes[0] = (uint8_t)operation;
    pack(bytes + 1, first);
    pack(bytes + 5, second);
    put_bytes(bytes, sizeof bytes);
}

static int read_register(void *context, uint32_t offset, uint32_t *value)
{
    (void)context;
    request('r', offset, 0);
    *value = get_number();
    return 0;
}

static int write_register(void *context, uint32_t offset, uint32_t value)
{
    (void)context;
    request('w', offset, value);
    return 0;
}

static int flush(void *context, const void *data, uint64_t address, size_t bytes)
{
    (void)context;
    request('f', (uint32_t)address, (uint32_t)bytes);
    put_bytes(data, bytes);
    return 0;
}

static int invalidate(void *context, void *data, uint64_t address, size_t bytes)
{
    (void)context;
    request('i', (uint32_t)address, (uint32_t)bytes);
    get_bytes(data, bytes);
    return 0;
}

/* Gives every buffer its place in `memory`, which the machine sees at `address`. */
static vta_status place(vta_program *program, uint32_t address)
{
    vta_memory part;
    vta_buffer *buffer;
    vta_status status;
    uint32_t index, used = (uint32_t)vta_workspace_bytes(program);

    part.data = memory;
    part.address = address;
    part.bytes = ROOM;
    status = vta_place(program, part);
    for (index = 0; index < program->buffer_count && status == VTA_OK; index++) {
        buffer = &program->buffers[index];
        if (buffer->role != VTA_ROLE_INPUT && buffer->role != VTA_ROLE_OUTPUT) {
            continue;
        }
        part.data = memory + used;
        part.address = address + used;
        part.bytes = ROOM - used;
        used += (uint32_t)vta_room(program, buffer);
        status = vta_bind(program, index, part);
    }
    return status;
}

static vta_status run(vta_machine *machine, vta_program *program, uint32_t polls)
{
    vta_status status;
    vta_buffer *buffer;
    uint32_t index;

    for (index = 0; index < program->buffer_count; index++) {
        buffer = &program->buffers[index];
        if (buffer->role == VTA_ROLE_INPUT) {
            request('a', index, buffer->bytes);
            get_bytes(buffer->memory.data, buffer->bytes);
        }
    }
    status = vta_launch(machine, program);
    if (status == VTA_OK) {
        status = vta_wait(machine, polls);
    }
    for (index = 0; index < program->buffer_count && status == VTA_OK; index++) {
        buffer = &program->buffers[index];
        if (buffer->role == VTA_ROLE_OUTPUT) {
            request('o', index, buffer->bytes);
            put_bytes(buffer->memory.data, buffer->bytes);
        }
    }
    return status;
}

int main(void)
{
    const vta_host host = {NULL, read_register, write_register, flush, invalidate};
    const uint16_t one = 0x0100; /* its first byte is 1 where the byte order is big-endian */
    vta_buffer buffers[BUFFERS];
    vta_program program;
    vta_machine machine;
    vta_status status;
    uint32_t size = get_number(), address, polls, runs, index;
    uint32_t result[6];
    uint8_t bytes[4];

    if (size >= ROOM) {
        return 1;
    }
    /* At an odd address: nothing may depend on alignment. */
    get_bytes(file + 1, size);
    address = get_number();
    polls = get_number();
    runs = get_number();
    machine.cycles = 0;
    machine.fault.cause = machine.fault.module = machine.fault.insn = 0;
    status = vta_load(&program, file + 1, size, buffers, BUFFERS);
    if (status == VTA_OK) {
        status = vta_open(&machine, &host);
    }
    if (status == VTA_OK) {
        status = place(&program, address);
    }
    for (; runs > 0 && status == VTA_OK; runs--) {
        status = run(&machine, &program, polls);
    }
    result[0] = machine.cycles;
    result[1] = machine.fault.cause;
    result[2] = machine.fault.module;
    result[3] = machine.fault.insn;
    result[4] = (uint32_t)sizeof(void *);
    result[5] = *(const uint8_t *)&one;
    request('e', (uint32_t)status, 6);
    for (index = 0; index < 6; index++) {
        pack(bytes, result[index]);
        put_bytes(bytes, 4);
    }
    return 0;
}
