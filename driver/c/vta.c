/* The C runtime of VTA: see vta.h. */
#include "vta.h"

/* -- bytes ------------------------------------------------------------------------------------- */

/* Words are read and written byte by byte, so neither the processor's byte order nor the alignment
 * of a pointer matters. */
static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void put_word(uint8_t *bytes, uint32_t word)
{
    bytes[0] = (uint8_t)word;
    bytes[1] = (uint8_t)(word >> 8);
    bytes[2] = (uint8_t)(word >> 16);
    bytes[3] = (uint8_t)(word >> 24);
}

static void copy(uint8_t *to, const uint8_t *from, size_t bytes)
{
    while (bytes-- > 0) {
        *to++ = *from++;
    }
}

static uint32_t bits_of(uint32_t word, int low, int bits)
{
    return (word >> low) & (((uint32_t)1 << bits) - 1);
}

/* `bytes` rounded up to a power of two; it cannot overflow, because `bytes` has 32 bits. */
static uint64_t round_up(uint64_t bytes, uint32_t alignment)
{
    return (bytes + alignment - 1) & ~((uint64_t)alignment - 1);
}

/* CRC-32 of IEEE 802.3, four bits at a time. */
static uint32_t checksum(const uint8_t *bytes, size_t count)
{
    static const uint32_t steps[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    uint32_t sum = 0xffffffffu;

    while (count-- > 0) {
        sum ^= *bytes++;
        sum = (sum >> 4) ^ steps[sum & 15];
        sum = (sum >> 4) ^ steps[sum & 15];
    }
    return sum ^ 0xffffffffu;
}

/* -- the file ---------------------------------------------------------------------------------- */

typedef struct file {
    const uint8_t *bytes;
    uint32_t size;
} file;

/* The bytes of a section with `count` entries; NULL if it is not inside the file. */
static const uint8_t *section(const file *in, uint32_t offset, uint32_t count, uint32_t entry_bytes)
{
    if (offset > in->size || count > (in->size - offset) / entry_bytes) {
        return NULL;
    }
    return in->bytes + offset;
}

/* A text that ends inside the file; NULL if there is none. */
static const char *text_at(const file *in, uint32_t offset)
{
    uint32_t end;

    for (end = offset; end < in->size; end++) {
        if (in->bytes[end] == 0) {
            return (const char *)in->bytes + offset;
        }
    }
    return NULL;
}

static int is_kind(uint32_t kind)
{
    const char *known;

    for (known = VTA_FLAT_KINDS; *known != 0; known++) {
        if (kind == (uint32_t)(unsigned char)*known) {
            return 1;
        }
    }
    return 0;
}

static vta_status read_buffer(const file *in, const uint8_t *record, vta_buffer *buffer)
{
    uint32_t role = word_at(record + VTA_BUFFER_AT_ROLE);
    uint32_t type = word_at(record + VTA_BUFFER_AT_TYPE);
    uint32_t item_bytes = type >> 8;
    uint64_t bytes = item_bytes;
    uint32_t dim;

    buffer->name = text_at(in, word_at(record + VTA_BUFFER_AT_NAME));
    buffer->dims = word_at(record + VTA_BUFFER_AT_DIMS);
    buffer->shape = section(in, word_at(record + VTA_BUFFER_AT_SHAPE), buffer->dims, 4);
    buffer->bytes = word_at(record + VTA_BUFFER_AT_BYTES);
    buffer->data = NULL;
    buffer->bound = 0;
    buffer->memory.data = NULL;
    buffer->memory.address = 0;
    buffer->memory.bytes = 0;
    if (buffer->name == NULL || buffer->shape == NULL || role >= VTA_ROLES ||
        !is_kind(type & 0xff) || item_bytes == 0 || item_bytes > 8 ||
        (item_bytes & (item_bytes - 1)) != 0) {
        return VTA_DAMAGED;
    }
    buffer->role = (vta_role)role;
    buffer->kind = (char)(type & 0xff);
    buffer->item_bytes = (uint8_t)item_bytes;
    for (dim = 0; dim < buffer->dims; dim++) {
        /* Both factors are below 2^32. */
        bytes *= word_at(buffer->shape + 4 * dim);
        if (bytes > UINT32_MAX) {
            return VTA_DAMAGED;
        }
    }
    if (bytes != buffer->bytes) {
        return VTA_DAMAGED;
    }
    if (role == VTA_ROLE_CONST) {
        buffer->data = section(in, word_at(record + VTA_BUFFER_AT_DATA), buffer->bytes, 1);
        if (buffer->data == NULL) {
            return VTA_DAMAGED;
        }
    }
    return VTA_OK;
}

static uint32_t relocated_buffer(const uint8_t *relocation)
{
    return word_at(relocation + VTA_RELOCATION_AT_BUFFER) & 0xffffffu;
}

static uint32_t relocated_shift(const uint8_t *relocation)
{
    return word_at(relocation + VTA_RELOCATION_AT_BUFFER) >> 24;
}

/* Whether every relocation is of a LOAD or STORE of its own, and of a buffer that exists. */
static int relocations_are_sound(const vta_program *program)
{
    uint32_t index, insn, opcode, next = 0;
    const uint8_t *relocation = program->relocations;

    for (index = 0; index < program->relocation_count; index++) {
        insn = word_at(relocation + VTA_RELOCATION_AT_INSN);
        if (insn < next || insn >= program->insn_count ||
            relocated_buffer(relocation) >= program->buffer_count ||
            relocated_shift(relocation) >= 32 ||
            (uint32_t)1 << relocated_shift(relocation) > program->alignment) {
            return 0;
        }
        opcode = bits_of(word_at(program->insns + (size_t)VTA_INSN_BYTES * insn),
                         VTA_INSN_OPCODE_LOW, VTA_INSN_OPCODE_BITS);
        if (opcode != VTA_OPCODE_LOAD && opcode != VTA_OPCODE_STORE) {
            return 0;
        }
        next = insn + 1;
        relocation += VTA_RELOCATION_BYTES;
    }
    return 1;
}

/* Finds the file's end, and checks its form and its checksum. */
static vta_status check_file(const uint8_t *bytes, size_t available, file *in)
{
    size_t index;

    if (bytes == NULL) {
        return VTA_TRUNCATED;
    }
    for (index = 0; index < available && index < 4; index++) {
        if (bytes[index] != (uint8_t)(VTA_FLAT_MAGIC >> (8 * index))) {
            return VTA_NOT_A_PROGRAM;
        }
    }
    if (available < VTA_HEADER_BYTES) {
        return VTA_TRUNCATED;
    }
    if (word_at(bytes + VTA_HEADER_AT_FORMAT) != VTA_FLAT_FORMAT) {
        return VTA_WRONG_FORMAT;
    }
    in->bytes = bytes;
    in->size = word_at(bytes + VTA_HEADER_AT_FILE_BYTES);
    if (in->size > available) {
        return VTA_TRUNCATED;
    }
    if (in->size < VTA_HEADER_BYTES) {
        return VTA_DAMAGED;
    }
    if (checksum(bytes + VTA_HEADER_AT_VERSION, in->size - VTA_HEADER_AT_VERSION) !=
        word_at(bytes + VTA_HEADER_AT_CHECKSUM)) {
        return VTA_BAD_CHECKSUM;
    }
    return VTA_OK;
}

vta_status vta_load(vta_program *program, const void *data, size_t bytes, vta_buffer *buffers,
                    uint32_t most)
{
    const uint8_t *head = (const uint8_t *)data, *records;
    file in = {NULL, 0};
    uint32_t index;
    vta_status status = check_file(head, bytes, &in);

    program->buffer_count = 0;
    program->insn_count = 0;
    program->relocation_count = 0;
    program->buffers = buffers;
    program->alignment = 1;
    program->buffer = 0;
    program->linked = 0;
    program->workspace.data = NULL;
    program->workspace.address = 0;
    program->workspace.bytes = 0;
    if (status != VTA_OK) {
        return status;
    }
    program->version = word_at(head + VTA_HEADER_AT_VERSION);
    for (index = 0; index < VTA_CONFIG_WORDS; index++) {
        program->config[index] = word_at(head + VTA_HEADER_AT_CONFIG_0 + 4 * index);
    }
    program->alignment = word_at(head + VTA_HEADER_AT_ALIGNMENT);
    program->name = text_at(&in, word_at(head + VTA_HEADER_AT_NAME));
    program->insn_count = word_at(head + VTA_HEADER_AT_INSN_COUNT);
    program->insns = section(&in, word_at(head + VTA_HEADER_AT_INSNS), program->insn_count,
                             VTA_INSN_BYTES);
    program->relocation_count = word_at(head + VTA_HEADER_AT_RELOCATION_COUNT);
    program->relocations = section(&in, word_at(head + VTA_HEADER_AT_RELOCATIONS),
                                   program->relocation_count, VTA_RELOCATION_BYTES);
    program->buffer_count = word_at(head + VTA_HEADER_AT_BUFFER_COUNT);
    records = section(&in, word_at(head + VTA_HEADER_AT_BUFFERS), program->buffer_count,
                      VTA_BUFFER_BYTES);
    /* An instruction pointer must be a multiple of 16, and so must the workspace's start be. */
    if (program->name == NULL || program->insns == NULL || program->relocations == NULL ||
        records == NULL || program->insn_count == 0 || program->alignment < VTA_INSN_BYTES ||
        (program->alignment & (program->alignment - 1)) != 0 || !relocations_are_sound(program)) {
        program->buffer_count = 0;
        return VTA_DAMAGED;
    }
    if (program->buffer_count > most) {
        return VTA_TOO_MANY_BUFFERS;
    }
    for (index = 0; index < program->buffer_count; index++) {
        status = read_buffer(&in, records + (size_t)VTA_BUFFER_BYTES * index, &buffers[index]);
        if (status != VTA_OK) {
            program->buffer_count = 0;
            return status;
        }
    }
    return VTA_OK;
}

vta_status vta_find(const vta_program *program, const char *name, uint32_t *index)
{
    const char *mine, *wanted;

    for (*index = 0; *index < program->buffer_count; ++*index) {
        mine = program->buffers[*index].name;
        for (wanted = name; *mine == *wanted && *mine != 0; mine++) {
            wanted++;
        }
        if (*mine == *wanted) {
            return VTA_OK;
        }
    }
    return VTA_NO_BUFFER;
}

uint32_t vta_extent(const vta_buffer *buffer, uint32_t dimension)
{
    return dimension < buffer->dims ? word_at(buffer->shape + (size_t)4 * dimension) : 0;
}

/* -- memory ------------------------------------------------------------------------------------ */

static int is_argument(const vta_buffer *buffer)
{
    return buffer->role == VTA_ROLE_INPUT || buffer->role == VTA_ROLE_OUTPUT;
}

static uint64_t stream_bytes(const vta_program *program)
{
    return (uint64_t)VTA_INSN_BYTES * program->insn_count;
}

uint64_t vta_room(const vta_program *program, const vta_buffer *buffer)
{
    return round_up(buffer->bytes, program->alignment);
}

uint64_t vta_workspace_bytes(const vta_program *program)
{
    uint64_t bytes = round_up(stream_bytes(program), program->alignment);
    uint32_t index;

    for (index = 0; index < program->buffer_count; index++) {
        if (!is_argument(&program->buffers[index])) {
            bytes += vta_room(program, &program->buffers[index]);
        }
    }
    return bytes;
}

static vta_status check_memory(const vta_program *program, const vta_memory *memory, uint64_t bytes)
{
    if (memory->bytes < bytes || (memory->data == NULL && bytes > 0)) {
        return VTA_TOO_SMALL;
    }
    if ((memory->address & (program->alignment - 1)) != 0) {
        return VTA_MISALIGNED;
    }
    return memory->address > UINT64_MAX - bytes ? VTA_OUT_OF_REACH : VTA_OK;
}

vta_status vta_place(vta_program *program, vta_memory workspace)
{
    uint64_t used = round_up(stream_bytes(program), program->alignment), room;
    vta_status status = check_memory(program, &workspace, vta_workspace_bytes(program));
    vta_buffer *buffer;
    uint32_t index;

    program->buffer = program->buffer_count;
    if (status != VTA_OK) {
        return status;
    }
    for (index = 0; index < program->buffer_count; index++) {
        buffer = &program->buffers[index];
        if (!is_argument(buffer)) {
            room = vta_room(program, buffer);
            buffer->memory.data = (uint8_t *)workspace.data + used;
            buffer->memory.address = workspace.address + used;
            buffer->memory.bytes = (size_t)room;
            buffer->bound = 1;
            used += room;
        }
    }
    workspace.bytes = (size_t)used;
    program->workspace = workspace;
    program->linked = 0;
    return VTA_OK;
}

vta_status vta_bind(vta_program *program, uint32_t index, vta_memory memory)
{
    vta_status status;
    vta_buffer *buffer;

    if (index >= program->buffer_count || !is_argument(&program->buffers[index])) {
        return VTA_NO_BUFFER;
    }
    buffer = &program->buffers[index];
    status = check_memory(program, &memory, vta_room(program, buffer));
    program->buffer = index;
    if (status != VTA_OK) {
        return status;
    }
    memory.bytes = (size_t)vta_room(program, buffer);
    if (buffer->memory.address != memory.address || !buffer->bound) {
        program->linked = 0;
    }
    buffer->memory = memory;
    buffer->bound = 1;
    return VTA_OK;
}

/* Adds its buffer's place to an instruction's dram_base; whether the sum fits the field. */
static int relocate(const vta_program *program, const uint8_t *relocation, uint8_t *stream)
{
    const vta_buffer *buffer = &program->buffers[relocated_buffer(relocation)];
    uint8_t *insn = stream + (size_t)VTA_INSN_BYTES * word_at(relocation + VTA_RELOCATION_AT_INSN);
    const uint64_t most = ((uint64_t)1 << VTA_INSN_DRAM_BASE_BITS) - 1;
    uint64_t word = word_at(insn) | (uint64_t)word_at(insn + 4) << 32;
    uint64_t base = (word >> VTA_INSN_DRAM_BASE_LOW) & most;
    uint64_t start = buffer->memory.address >> relocated_shift(relocation);

    if (start > most - base) {
        return 0;
    }
    word &= ~(most << VTA_INSN_DRAM_BASE_LOW);
    word |= (base + start) << VTA_INSN_DRAM_BASE_LOW;
    put_word(insn, (uint32_t)word);
    put_word(insn + 4, (uint32_t)(word >> 32));
    return 1;
}

/* Fills the workspace for the memory that is bound now. */
static vta_status link_program(vta_program *program)
{
    const uint8_t *relocation = program->relocations;
    uint8_t *stream = (uint8_t *)program->workspace.data;
    const vta_buffer *buffer;
    uint32_t index;

    copy(stream, program->insns, (size_t)stream_bytes(program));
    for (index = 0; index < program->relocation_count; index++) {
        if (!relocate(program, relocation, stream)) {
            program->buffer = relocated_buffer(relocation);
            return VTA_OUT_OF_REACH;
        }
        relocation += VTA_RELOCATION_BYTES;
    }
    for (index = 0; index < program->buffer_count; index++) {
        buffer = &program->buffers[index];
        if (buffer->data != NULL) {
            copy((uint8_t *)buffer->memory.data, buffer->data, buffer->bytes);
        }
    }
    return VTA_OK;
}

/* -- the machine ------------------------------------------------------------------------------- */

static vta_status get(const vta_machine *machine, uint32_t offset, uint32_t *value)
{
    return machine->host.read(machine->host.context, offset, value) ? VTA_HOST_FAILED : VTA_OK;
}

static vta_status put(const vta_machine *machine, uint32_t offset, uint32_t value)
{
    return machine->host.write(machine->host.context, offset, value) ? VTA_HOST_FAILED : VTA_OK;
}

vta_status vta_open(vta_machine *machine, const vta_host *host)
{
    uint32_t id, index;

    machine->host = *host;
    machine->reset_polls = VTA_RESET_POLLS;
    machine->running = NULL;
    machine->cycles = 0;
    machine->mismatch.key = NULL;
    machine->fault.cause = VTA_CAUSE_NONE;
    if (get(machine, VTA_REG_ID, &id) || get(machine, VTA_REG_VERSION, &machine->version)) {
        return VTA_HOST_FAILED;
    }
    if (id != VTA_ID) {
        return VTA_NO_MACHINE;
    }
    if (machine->version != VTA_VERSION_0_0_2 && machine->version != VTA_VERSION_0_0_3) {
        return VTA_WRONG_VERSION;
    }
    for (index = 0; index < VTA_CONFIG_WORDS; index++) {
        if (get(machine, VTA_REG_CONFIG_0 + 4 * index, &machine->config[index])) {
            return VTA_HOST_FAILED;
        }
    }
    return VTA_OK;
}

vta_status vta_reset(vta_machine *machine)
{
    uint32_t control, polls;

    machine->running = NULL;
    if (put(machine, VTA_REG_CONTROL, VTA_CONTROL_RESET_MASK)) {
        return VTA_HOST_FAILED;
    }
    for (polls = 0; polls < machine->reset_polls; polls++) {
        if (get(machine, VTA_REG_CONTROL, &control)) {
            return VTA_HOST_FAILED;
        }
        if ((control & VTA_CONTROL_RESET_MASK) == 0) {
            return VTA_OK;
        }
    }
    return VTA_RESET_TIMEOUT;
}

vta_status vta_interrupt(vta_machine *machine, int on)
{
    return put(machine, VTA_REG_IRQ_ENABLE,
               on ? VTA_IRQ_ENABLE_DONE_MASK | VTA_IRQ_ENABLE_ERROR_MASK : 0);
}

/* Whether a machine executes a program's instructions as they are meant. */
static vta_status check_configuration(vta_machine *machine, const vta_program *program)
{
    static const struct {
        const char *key;
        int word, low, bits;
    } fields[] = {
#define FIELD(key, word, low, bits) {key, word, low, bits},
        VTA_DECISIVE_FIELDS(FIELD)
#undef FIELD
    };
    uint32_t mine, theirs;
    size_t index;

    machine->mismatch.key = NULL;
    for (index = 0; index < sizeof fields / sizeof fields[0]; index++) {
        mine = bits_of(machine->config[fields[index].word], fields[index].low, fields[index].bits);
        theirs =
            bits_of(program->config[fields[index].word], fields[index].low, fields[index].bits);
        if (mine != theirs) {
            machine->mismatch.key = fields[index].key;
            machine->mismatch.machine = mine;
            machine->mismatch.program = theirs;
            return VTA_WRONG_CONFIGURATION;
        }
    }
    /* A newer encoding only adds instructions. */
    return machine->version < program->version ? VTA_WRONG_VERSION : VTA_OK;
}

/* Whether every buffer has memory that the machine reaches. */
static vta_status check_places(const vta_machine *machine, vta_program *program)
{
    uint32_t width = bits_of(machine->config[VTA_ADDR_WIDTH_WORD], VTA_ADDR_WIDTH_LOW,
                             VTA_ADDR_WIDTH_BITS);
    uint64_t last = width < 64 ? ((uint64_t)1 << width) - 1 : UINT64_MAX;
    const vta_memory *memory;
    uint32_t index;

    for (index = 0; index <= program->buffer_count; index++) {
        program->buffer = index;
        if (index < program->buffer_count) {
            if (!program->buffers[index].bound) {
                return VTA_NOT_BOUND;
            }
            memory = &program->buffers[index].memory;
        } else {
            memory = &program->workspace;
            /* There is at least one instruction in it. */
            if (memory->data == NULL) {
                return VTA_NOT_BOUND;
            }
        }
        if (memory->bytes > 0 &&
            (memory->address > last || memory->bytes - 1 > last - memory->address)) {
            return VTA_OUT_OF_REACH;
        }
    }
    return VTA_OK;
}

static vta_status flush(const vta_machine *machine, const vta_memory *memory)
{
    if (memory->bytes > 0 && machine->host.flush(machine->host.context, memory->data,
                                                 memory->address, memory->bytes)) {
        return VTA_HOST_FAILED;
    }
    return VTA_OK;
}

static vta_status flush_all(const vta_machine *machine, vta_program *program)
{
    vta_status status;
    uint32_t index;

    if (!program->linked) {
        status = link_program(program);
        if (status == VTA_OK) {
            status = flush(machine, &program->workspace);
        }
        if (status != VTA_OK) {
            return status;
        }
        program->linked = 1;
    }
    /* Outputs as well: a line of the cache that is written back later would overwrite results. */
    for (index = 0; index < program->buffer_count; index++) {
        if (is_argument(&program->buffers[index]) &&
            flush(machine, &program->buffers[index].memory) != VTA_OK) {
            return VTA_HOST_FAILED;
        }
    }
    return VTA_OK;
}

vta_status vta_launch(vta_machine *machine, vta_program *program)
{
    static const uint32_t bases[] = {VTA_REG_UOP_PTR,    VTA_REG_INP_PTR,    VTA_REG_WGT_PTR,
                                     VTA_REG_ACC_PTR,    VTA_REG_OUT_PTR,    VTA_REG_UOP_PTR_HI,
                                     VTA_REG_INP_PTR_HI, VTA_REG_WGT_PTR_HI, VTA_REG_ACC_PTR_HI,
                                     VTA_REG_OUT_PTR_HI};
    vta_status status;
    size_t index;

    if (machine->running != NULL) {
        return VTA_BUSY;
    }
    status = check_configuration(machine, program);
    if (status == VTA_OK) {
        status = check_places(machine, program);
    }
    if (status == VTA_OK) {
        status = flush_all(machine, program);
    }
    if (status == VTA_OK) {
        status = vta_reset(machine);
    }
    /* Instructions have whole addresses, so every base register is 0. */
    for (index = 0; index < sizeof bases / sizeof bases[0] && status == VTA_OK; index++) {
        status = put(machine, bases[index], 0);
    }
    if (status != VTA_OK) {
        return status;
    }
    if (put(machine, VTA_REG_INSN_PTR, (uint32_t)program->workspace.address) ||
        put(machine, VTA_REG_INSN_PTR_HI, (uint32_t)(program->workspace.address >> 32)) ||
        put(machine, VTA_REG_INSN_COUNT, program->insn_count) ||
        put(machine, VTA_REG_IRQ_STATUS, VTA_IRQ_STATUS_DONE_MASK | VTA_IRQ_STATUS_ERROR_MASK) ||
        put(machine, VTA_REG_CONTROL, VTA_CONTROL_LAUNCH_MASK)) {
        return VTA_HOST_FAILED;
    }
    machine->fault.cause = VTA_CAUSE_NONE;
    machine->running = program;
    return VTA_OK;
}

static vta_status fetch_outputs(const vta_machine *machine, const vta_program *program)
{
    const vta_buffer *buffer;
    uint32_t index;

    for (index = 0; index < program->buffer_count; index++) {
        buffer = &program->buffers[index];
        if (buffer->role == VTA_ROLE_OUTPUT && buffer->memory.bytes > 0 &&
            machine->host.invalidate(machine->host.context, buffer->memory.data,
                                     buffer->memory.address, buffer->memory.bytes)) {
            return VTA_HOST_FAILED;
        }
    }
    return VTA_OK;
}

vta_status vta_poll(vta_machine *machine)
{
    const vta_program *program = machine->running;
    uint32_t control, error, insn, cycles;

    if (program == NULL) {
        return VTA_IDLE;
    }
    if (get(machine, VTA_REG_CONTROL, &control)) {
        return VTA_HOST_FAILED;
    }
    if (control & VTA_CONTROL_LAUNCH_MASK) {
        return VTA_RUNNING;
    }
    if (put(machine, VTA_REG_IRQ_STATUS, VTA_IRQ_STATUS_DONE_MASK | VTA_IRQ_STATUS_ERROR_MASK) ||
        get(machine, VTA_REG_ERROR, &error) || get(machine, VTA_REG_ERROR_INDEX, &insn) ||
        get(machine, VTA_REG_CYCLE_COUNT, &cycles)) {
        return VTA_HOST_FAILED;
    }
    machine->running = NULL;
    if (error != 0) {
        machine->fault.cause = (error & VTA_ERROR_CAUSE_MASK) >> VTA_ERROR_CAUSE_LOW;
        machine->fault.module = (error & VTA_ERROR_MODULE_MASK) >> VTA_ERROR_MODULE_LOW;
        machine->fault.insn = insn;
        return VTA_FAULT;
    }
    if ((control & VTA_CONTROL_DONE_MASK) == 0) {
        return VTA_STOPPED;
    }
    machine->cycles = cycles;
    return fetch_outputs(machine, program);
}

vta_status vta_wait(vta_machine *machine, uint32_t polls)
{
    vta_status status;

    for (; polls > 0; polls--) {
        status = vta_poll(machine);
        if (status != VTA_RUNNING) {
            return status;
        }
    }
    return VTA_TIMEOUT;
}

/* -- words ------------------------------------------------------------------------------------- */

const char *vta_status_text(vta_status status)
{
    static const char *const texts[VTA_STATUSES] = {
        [VTA_OK] = "no error",
        [VTA_RUNNING] = "the run goes on",
        [VTA_TRUNCATED] = "the file ends before the program does",
        [VTA_NOT_A_PROGRAM] = "the file is not a program: it does not begin with VTAF",
        [VTA_WRONG_FORMAT] = "the file has a version of the form that this runtime does not know",
        [VTA_BAD_CHECKSUM] = "the file is damaged: its checksum is wrong",
        [VTA_DAMAGED] = "the file is damaged: its parts do not fit together",
        [VTA_TOO_MANY_BUFFERS] = "the program has more buffers than there is room for",
        [VTA_NO_BUFFER] = "the program has no such input or output",
        [VTA_TOO_SMALL] = "the memory is too small",
        [VTA_MISALIGNED] = "the memory is not aligned as the program needs it",
        [VTA_NOT_BOUND] = "there is no memory",
        [VTA_OUT_OF_REACH] = "the machine cannot reach the memory",
        [VTA_HOST_FAILED] = "the host could not read or write a register or memory",
        [VTA_NO_MACHINE] = "there is no VTA behind the registers",
        [VTA_WRONG_VERSION] = "the machine has another encoding of instructions",
        [VTA_WRONG_CONFIGURATION] = "the program was compiled for another configuration",
        [VTA_BUSY] = "the machine is running a program",
        [VTA_IDLE] = "the machine is running no program",
        [VTA_TIMEOUT] = "the run has not ended in time",
        [VTA_RESET_TIMEOUT] = "the machine did not come out of reset",
        [VTA_FAULT] = "the machine halted with an error",
        [VTA_STOPPED] = "the run was ended by a reset",
    };

    if ((unsigned)status >= VTA_STATUSES) {
        return "a status that does not exist";
    }
    return texts[status];
}

const char *vta_cause_text(uint32_t cause)
{
    static const char *const texts[VTA_CAUSES] = {
        [VTA_CAUSE_NONE] = "no error",
        [VTA_CAUSE_ILLEGAL_OPCODE] = "an opcode that does not exist",
        [VTA_CAUSE_ILLEGAL_TOKEN] = "a token from or to a neighbour that the module does not have",
        [VTA_CAUSE_ILLEGAL_MEMORY_TYPE] = "a memory that cannot be loaded or stored",
        [VTA_CAUSE_ILLEGAL_ALU_OPCODE] = "an ALU operation that the machine does not have",
        [VTA_CAUSE_ILLEGAL_PADDING] = "a STORE with padding",
        [VTA_CAUSE_SRAM_RANGE] = "an index beyond the depth of a buffer on the chip",
        [VTA_CAUSE_MEMORY_RESPONSE] = "memory answered with an error",
        [VTA_CAUSE_NO_FINISH] = "the instructions ended without FINISH",
        [VTA_CAUSE_MISALIGNED_BASE] = "a base register or the instruction pointer is misaligned",
        [VTA_CAUSE_DEADLOCK] = "every module waits for a token",
        [VTA_CAUSE_TIMEOUT] = "the watchdog saw no progress",
    };

    return cause < VTA_CAUSES ? texts[cause] : "a cause that this runtime does not know";
}

const char *vta_module_text(uint32_t module)
{
    static const char *const texts[VTA_MODULES] = {
        [VTA_MODULE_FETCH] = "fetch",
        [VTA_MODULE_LOAD] = "load",
        [VTA_MODULE_COMPUTE] = "compute",
        [VTA_MODULE_STORE] = "store",
    };

    return module < VTA_MODULES ? texts[module] : "unknown";
}

/* A text that is cut where its memory ends. */
typedef struct sentence {
    char *text;
    size_t left; /* without the zero at the end */
} sentence;

static void add_text(sentence *out, const char *text)
{
    while (*text != 0 && out->left > 0) {
        *out->text++ = *text++;
        out->left--;
    }
}

static void add_number(sentence *out, uint32_t number)
{
    char digits[11];
    size_t place = sizeof digits - 1;

    digits[place] = 0;
    do {
        digits[--place] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_text(out, digits + place);
}

static void add_fault(sentence *out, const vta_fault *fault)
{
    add_text(out, ": ");
    add_text(out, vta_cause_text(fault->cause));
    add_text(out, ", in ");
    add_text(out, vta_module_text(fault->module));
    add_text(out, " at instruction ");
    add_number(out, fault->insn);
}

static void add_mismatch(sentence *out, const vta_mismatch *mismatch)
{
    add_text(out, ": ");
    add_text(out, mismatch->key);
    add_text(out, " is ");
    add_number(out, mismatch->machine);
    add_text(out, " in the machine and ");
    add_number(out, mismatch->program);
    add_text(out, " in the program");
}

static int is_of_memory(vta_status status)
{
    return status == VTA_TOO_SMALL || status == VTA_MISALIGNED || status == VTA_NOT_BOUND ||
           status == VTA_OUT_OF_REACH;
}

void vta_explain(const vta_machine *machine, const vta_program *program, vta_status status,
                 char *text, size_t bytes)
{
    sentence out;

    if (bytes == 0) {
        return;
    }
    out.text = text;
    out.left = bytes - 1;
    add_text(&out, vta_status_text(status));
    if (status == VTA_FAULT && machine != NULL) {
        add_fault(&out, &machine->fault);
    } else if (status == VTA_WRONG_CONFIGURATION && machine != NULL &&
               machine->mismatch.key != NULL) {
        add_mismatch(&out, &machine->mismatch);
    } else if (is_of_memory(status) && program != NULL) {
        if (program->buffer < program->buffer_count) {
            add_text(&out, ": buffer ");
            add_text(&out, program->buffers[program->buffer].name);
        } else {
            add_text(&out, ": the workspace");
        }
    }
    *out.text = 0;
}
