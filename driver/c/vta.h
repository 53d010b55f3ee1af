/*
 * The C runtime of VTA: loads a program, binds its buffers, runs it and says what went wrong.
 *
 * It is C99, and needs no heap, no operating system and no library. It keeps nothing in global
 * variables: everything is in structures that the caller owns, so machines and programs may be used
 * at the same time from several threads, each by one thread at a time.
 *
 *     vta_open       checks that there is a machine behind the host's callbacks
 *     vta_load       reads a program that `vta export --format bin` wrote, in place
 *     vta_place      gives it memory for instructions, constants and temporary arrays
 *     vta_bind       gives an input or an output its memory
 *     vta_launch     starts it
 *     vta_wait       waits for its end; vta_poll looks once, for example after the interrupt
 *
 * docs/c_runtime.md has an example, and the file's form to the byte.
 */
#ifndef VTA_H
#define VTA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* -- what hardware and compiler share ---------------------------------------------------------- */

/* generated: registers */
#define VTA_ID 0x2d415456u
#define VTA_VERSION_0_0_2 0x200u
#define VTA_VERSION_0_0_3 0x300u
#define VTA_REG_CONTROL 0x0u
#define VTA_REG_CYCLE_COUNT 0x4u
#define VTA_REG_INSN_COUNT 0x8u
#define VTA_REG_INSN_PTR 0xcu
#define VTA_REG_UOP_PTR 0x10u
#define VTA_REG_INP_PTR 0x14u
#define VTA_REG_WGT_PTR 0x18u
#define VTA_REG_ACC_PTR 0x1cu
#define VTA_REG_OUT_PTR 0x20u
#define VTA_REG_TILE_COUNT 0x24u
#define VTA_REG_ID 0x40u
#define VTA_REG_VERSION 0x44u
#define VTA_REG_CONFIG_0 0x48u
#define VTA_REG_CONFIG_1 0x4cu
#define VTA_REG_CONFIG_2 0x50u
#define VTA_REG_ERROR 0x54u
#define VTA_REG_ERROR_INDEX 0x58u
#define VTA_REG_IRQ_ENABLE 0x5cu
#define VTA_REG_IRQ_STATUS 0x60u
#define VTA_REG_WATCHDOG 0x64u
#define VTA_REG_TOKENS_PREV 0x68u
#define VTA_REG_TOKENS_NEXT 0x6cu
#define VTA_REG_INSN_PTR_HI 0x70u
#define VTA_REG_UOP_PTR_HI 0x74u
#define VTA_REG_INP_PTR_HI 0x78u
#define VTA_REG_WGT_PTR_HI 0x7cu
#define VTA_REG_ACC_PTR_HI 0x80u
#define VTA_REG_OUT_PTR_HI 0x84u
#define VTA_REG_FETCH_STATUS 0x90u
#define VTA_REG_FETCH_INDEX 0x94u
#define VTA_REG_LOAD_STATUS 0x98u
#define VTA_REG_LOAD_INDEX 0x9cu
#define VTA_REG_COMPUTE_STATUS 0xa0u
#define VTA_REG_COMPUTE_INDEX 0xa4u
#define VTA_REG_STORE_STATUS 0xa8u
#define VTA_REG_STORE_INDEX 0xacu
#define VTA_REG_FETCH_BUSY 0xc0u
#define VTA_REG_FETCH_WAIT_TOKEN 0xc4u
#define VTA_REG_FETCH_WAIT_MEMORY 0xc8u
#define VTA_REG_LOAD_BUSY 0xccu
#define VTA_REG_LOAD_WAIT_TOKEN 0xd0u
#define VTA_REG_LOAD_WAIT_MEMORY 0xd4u
#define VTA_REG_COMPUTE_BUSY 0xd8u
#define VTA_REG_COMPUTE_WAIT_TOKEN 0xdcu
#define VTA_REG_COMPUTE_WAIT_MEMORY 0xe0u
#define VTA_REG_STORE_BUSY 0xe4u
#define VTA_REG_STORE_WAIT_TOKEN 0xe8u
#define VTA_REG_STORE_WAIT_MEMORY 0xecu
#define VTA_REG_UOP_BYTES 0xf0u
#define VTA_REG_WGT_BYTES 0xf4u
#define VTA_REG_INP_BYTES 0xf8u
#define VTA_REG_ACC_BYTES 0xfcu
#define VTA_REG_OUT_BYTES 0x100u
#define VTA_REG_ACC_8BIT_BYTES 0x104u
#define VTA_REG_GEMM_OPS 0x108u
#define VTA_REG_RESET_OPS 0x10cu
#define VTA_REG_ALU_OPS 0x110u
#define VTA_REG_LOAD_INSNS 0x114u
#define VTA_REG_COMPUTE_INSNS 0x118u
#define VTA_REG_STORE_INSNS 0x11cu
#define VTA_CONTROL_LAUNCH_LOW 0
#define VTA_CONTROL_LAUNCH_MASK 0x1u
#define VTA_CONTROL_DONE_LOW 1
#define VTA_CONTROL_DONE_MASK 0x2u
#define VTA_CONTROL_RESET_LOW 2
#define VTA_CONTROL_RESET_MASK 0x4u
#define VTA_ERROR_CAUSE_LOW 0
#define VTA_ERROR_CAUSE_MASK 0xfu
#define VTA_ERROR_MODULE_LOW 4
#define VTA_ERROR_MODULE_MASK 0x30u
#define VTA_IRQ_ENABLE_DONE_LOW 0
#define VTA_IRQ_ENABLE_DONE_MASK 0x1u
#define VTA_IRQ_ENABLE_ERROR_LOW 1
#define VTA_IRQ_ENABLE_ERROR_MASK 0x2u
#define VTA_IRQ_STATUS_DONE_LOW 0
#define VTA_IRQ_STATUS_DONE_MASK 0x1u
#define VTA_IRQ_STATUS_ERROR_LOW 1
#define VTA_IRQ_STATUS_ERROR_MASK 0x2u
#define VTA_TOKENS_PREV_L2G_LOW 0
#define VTA_TOKENS_PREV_L2G_MASK 0xffffu
#define VTA_TOKENS_PREV_G2L_LOW 16
#define VTA_TOKENS_PREV_G2L_MASK 0xffff0000u
#define VTA_TOKENS_NEXT_G2S_LOW 0
#define VTA_TOKENS_NEXT_G2S_MASK 0xffffu
#define VTA_TOKENS_NEXT_S2G_LOW 16
#define VTA_TOKENS_NEXT_S2G_MASK 0xffff0000u
#define VTA_FETCH_STATUS_BUSY_LOW 0
#define VTA_FETCH_STATUS_BUSY_MASK 0x1u
#define VTA_FETCH_STATUS_POP_PREV_LOW 1
#define VTA_FETCH_STATUS_POP_PREV_MASK 0x2u
#define VTA_FETCH_STATUS_POP_NEXT_LOW 2
#define VTA_FETCH_STATUS_POP_NEXT_MASK 0x4u
#define VTA_FETCH_STATUS_PUSH_PREV_LOW 3
#define VTA_FETCH_STATUS_PUSH_PREV_MASK 0x8u
#define VTA_FETCH_STATUS_PUSH_NEXT_LOW 4
#define VTA_FETCH_STATUS_PUSH_NEXT_MASK 0x10u
#define VTA_FETCH_STATUS_CAUSE_LOW 8
#define VTA_FETCH_STATUS_CAUSE_MASK 0xf00u
#define VTA_LOAD_STATUS_BUSY_LOW 0
#define VTA_LOAD_STATUS_BUSY_MASK 0x1u
#define VTA_LOAD_STATUS_POP_PREV_LOW 1
#define VTA_LOAD_STATUS_POP_PREV_MASK 0x2u
#define VTA_LOAD_STATUS_POP_NEXT_LOW 2
#define VTA_LOAD_STATUS_POP_NEXT_MASK 0x4u
#define VTA_LOAD_STATUS_PUSH_PREV_LOW 3
#define VTA_LOAD_STATUS_PUSH_PREV_MASK 0x8u
#define VTA_LOAD_STATUS_PUSH_NEXT_LOW 4
#define VTA_LOAD_STATUS_PUSH_NEXT_MASK 0x10u
#define VTA_LOAD_STATUS_CAUSE_LOW 8
#define VTA_LOAD_STATUS_CAUSE_MASK 0xf00u
#define VTA_COMPUTE_STATUS_BUSY_LOW 0
#define VTA_COMPUTE_STATUS_BUSY_MASK 0x1u
#define VTA_COMPUTE_STATUS_POP_PREV_LOW 1
#define VTA_COMPUTE_STATUS_POP_PREV_MASK 0x2u
#define VTA_COMPUTE_STATUS_POP_NEXT_LOW 2
#define VTA_COMPUTE_STATUS_POP_NEXT_MASK 0x4u
#define VTA_COMPUTE_STATUS_PUSH_PREV_LOW 3
#define VTA_COMPUTE_STATUS_PUSH_PREV_MASK 0x8u
#define VTA_COMPUTE_STATUS_PUSH_NEXT_LOW 4
#define VTA_COMPUTE_STATUS_PUSH_NEXT_MASK 0x10u
#define VTA_COMPUTE_STATUS_CAUSE_LOW 8
#define VTA_COMPUTE_STATUS_CAUSE_MASK 0xf00u
#define VTA_STORE_STATUS_BUSY_LOW 0
#define VTA_STORE_STATUS_BUSY_MASK 0x1u
#define VTA_STORE_STATUS_POP_PREV_LOW 1
#define VTA_STORE_STATUS_POP_PREV_MASK 0x2u
#define VTA_STORE_STATUS_POP_NEXT_LOW 2
#define VTA_STORE_STATUS_POP_NEXT_MASK 0x4u
#define VTA_STORE_STATUS_PUSH_PREV_LOW 3
#define VTA_STORE_STATUS_PUSH_PREV_MASK 0x8u
#define VTA_STORE_STATUS_PUSH_NEXT_LOW 4
#define VTA_STORE_STATUS_PUSH_NEXT_MASK 0x10u
#define VTA_STORE_STATUS_CAUSE_LOW 8
#define VTA_STORE_STATUS_CAUSE_MASK 0xf00u
/* end of generated registers */

/* generated: configuration */
#define VTA_CONFIG_WORDS 3
#define VTA_LOG_BUS_WIDTH_WORD 0
#define VTA_LOG_BUS_WIDTH_LOW 20
#define VTA_LOG_BUS_WIDTH_BITS 4
#define VTA_ADDR_WIDTH_WORD 2
#define VTA_ADDR_WIDTH_LOW 0
#define VTA_ADDR_WIDTH_BITS 8
#define VTA_LOG_INSN_QUEUE_WORD 2
#define VTA_LOG_INSN_QUEUE_LOW 8
#define VTA_LOG_INSN_QUEUE_BITS 8
#define VTA_MAX_BURST_WORD 2
#define VTA_MAX_BURST_LOW 16
#define VTA_MAX_BURST_BITS 16
/* What decides whether a program runs: key, word of the configuration, low bit, bits */
#define VTA_DECISIVE_FIELDS(FIELD)       \
    FIELD("LOG_INP_WIDTH", 0, 0, 4)      \
    FIELD("LOG_WGT_WIDTH", 0, 4, 4)      \
    FIELD("LOG_ACC_WIDTH", 0, 8, 4)      \
    FIELD("LOG_BATCH", 0, 12, 4)         \
    FIELD("LOG_BLOCK", 0, 16, 4)         \
    FIELD("LOG_UOP_BUFF_SIZE", 1, 0, 8)  \
    FIELD("LOG_INP_BUFF_SIZE", 1, 8, 8)  \
    FIELD("LOG_WGT_BUFF_SIZE", 1, 16, 8) \
    FIELD("LOG_ACC_BUFF_SIZE", 1, 24, 8)
/* end of generated configuration */

/* generated: instructions */
#define VTA_INSN_BYTES 16
#define VTA_INSN_OPCODE_LOW 0
#define VTA_INSN_OPCODE_BITS 3
#define VTA_INSN_DRAM_BASE_LOW 26
#define VTA_INSN_DRAM_BASE_BITS 32
#define VTA_OPCODE_LOAD 0
#define VTA_OPCODE_STORE 1
/* end of generated instructions */

/* Why a machine halted, and which of its modules. */
/* generated: causes */
typedef enum vta_cause {
    VTA_CAUSE_NONE = 0,
    VTA_CAUSE_ILLEGAL_OPCODE = 1,
    VTA_CAUSE_ILLEGAL_TOKEN = 2,
    VTA_CAUSE_ILLEGAL_MEMORY_TYPE = 3,
    VTA_CAUSE_ILLEGAL_ALU_OPCODE = 4,
    VTA_CAUSE_ILLEGAL_PADDING = 5,
    VTA_CAUSE_SRAM_RANGE = 6,
    VTA_CAUSE_MEMORY_RESPONSE = 7,
    VTA_CAUSE_NO_FINISH = 8,
    VTA_CAUSE_MISALIGNED_BASE = 9,
    VTA_CAUSE_DEADLOCK = 10,
    VTA_CAUSE_TIMEOUT = 11,
    VTA_CAUSES = 12
} vta_cause;

typedef enum vta_module {
    VTA_MODULE_FETCH = 0,
    VTA_MODULE_LOAD = 1,
    VTA_MODULE_COMPUTE = 2,
    VTA_MODULE_STORE = 3,
    VTA_MODULES = 4
} vta_module;
/* end of generated causes */

/* Inputs and outputs are the caller's; temporary arrays and constants are in the workspace. */
/* generated: roles */
typedef enum vta_role {
    VTA_ROLE_INPUT = 0,
    VTA_ROLE_OUTPUT = 1,
    VTA_ROLE_TEMP = 2,
    VTA_ROLE_CONST = 3,
    VTA_ROLES = 4
} vta_role;
/* end of generated roles */

/* generated: flat form */
#define VTA_FLAT_MAGIC 0x46415456u
#define VTA_FLAT_FORMAT 1u
#define VTA_FLAT_KINDS "iuf"
#define VTA_HEADER_BYTES 64u
#define VTA_HEADER_AT_MAGIC 0u
#define VTA_HEADER_AT_FORMAT 4u
#define VTA_HEADER_AT_FILE_BYTES 8u
#define VTA_HEADER_AT_CHECKSUM 12u
#define VTA_HEADER_AT_VERSION 16u
#define VTA_HEADER_AT_CONFIG_0 20u
#define VTA_HEADER_AT_CONFIG_1 24u
#define VTA_HEADER_AT_CONFIG_2 28u
#define VTA_HEADER_AT_ALIGNMENT 32u
#define VTA_HEADER_AT_INSN_COUNT 36u
#define VTA_HEADER_AT_INSNS 40u
#define VTA_HEADER_AT_RELOCATION_COUNT 44u
#define VTA_HEADER_AT_RELOCATIONS 48u
#define VTA_HEADER_AT_BUFFER_COUNT 52u
#define VTA_HEADER_AT_BUFFERS 56u
#define VTA_HEADER_AT_NAME 60u
#define VTA_BUFFER_BYTES 28u
#define VTA_BUFFER_AT_NAME 0u
#define VTA_BUFFER_AT_ROLE 4u
#define VTA_BUFFER_AT_TYPE 8u
#define VTA_BUFFER_AT_DIMS 12u
#define VTA_BUFFER_AT_SHAPE 16u
#define VTA_BUFFER_AT_BYTES 20u
#define VTA_BUFFER_AT_DATA 24u
#define VTA_RELOCATION_BYTES 8u
#define VTA_RELOCATION_AT_INSN 0u
#define VTA_RELOCATION_AT_BUFFER 4u
/* end of generated flat form */

/* -- results ----------------------------------------------------------------------------------- */

/* What a call returns; vta_status_text has a sentence for each. */
typedef enum vta_status {
    VTA_OK = 0,
    VTA_RUNNING, /* not an error: the run goes on */

    /* of a file */
    VTA_TRUNCATED,
    VTA_NOT_A_PROGRAM,
    VTA_WRONG_FORMAT,
    VTA_BAD_CHECKSUM,
    VTA_DAMAGED,
    VTA_TOO_MANY_BUFFERS,

    /* of memory */
    VTA_NO_BUFFER,
    VTA_TOO_SMALL,
    VTA_MISALIGNED,
    VTA_NOT_BOUND,
    VTA_OUT_OF_REACH,

    /* of the machine */
    VTA_HOST_FAILED,
    VTA_NO_MACHINE,
    VTA_WRONG_VERSION,
    VTA_WRONG_CONFIGURATION,
    VTA_BUSY,
    VTA_IDLE,
    VTA_TIMEOUT,
    VTA_RESET_TIMEOUT,
    VTA_FAULT,
    VTA_STOPPED,

    VTA_STATUSES
} vta_status;

/* -- the host ---------------------------------------------------------------------------------- */

/*
 * What the host does for the runtime. Each function returns 0, or another number if it failed; the
 * call of the runtime then ends with VTA_HOST_FAILED.
 *
 * read, write   The register at byte `offset` of the machine.
 * flush         The machine will read or write these bytes: write back the processor's cache. `data`
 *               is the caller's pointer to the memory, and `address` is where the machine finds it.
 *               Where memory is not mapped, the host sends the bytes at `data` to `address`.
 * invalidate    The machine has written these bytes: drop what the processor's cache has of them.
 *               Where memory is not mapped, the host fetches the bytes at `address` to `data`.
 */
typedef struct vta_host {
    void *context; /* passed to each function */
    int (*read)(void *context, uint32_t offset, uint32_t *value);
    int (*write)(void *context, uint32_t offset, uint32_t value);
    int (*flush)(void *context, const void *data, uint64_t address, size_t bytes);
    int (*invalidate)(void *context, void *data, uint64_t address, size_t bytes);
} vta_host;

/* Memory as the processor sees it, and where the machine finds it. */
typedef struct vta_memory {
    void *data;
    uint64_t address;
    size_t bytes;
} vta_memory;

/* -- programs ---------------------------------------------------------------------------------- */

/* An array of a program. The text and the shape are in the file. */
typedef struct vta_buffer {
    const char *name;
    const uint8_t *shape; /* read it with vta_extent */
    const uint8_t *data;  /* of a constant; NULL for other roles */
    uint32_t dims;        /* number of dimensions */
    uint32_t bytes;       /* of the array; vta_room says how many the memory must have */
    vta_role role;
    char kind;         /* 'i', 'u' or 'f' */
    uint8_t item_bytes; /* of a number: 1, 2, 4 or 8 */
    uint8_t bound;      /* whether it has memory */
    vta_memory memory;
} vta_buffer;

/*
 * A program. Its fields are for reading alone. The file and the array of buffers must last as long
 * as the program is used.
 */
typedef struct vta_program {
    const char *name;
    const uint8_t *insns;
    const uint8_t *relocations;
    vta_buffer *buffers;
    uint32_t insn_count;
    uint32_t relocation_count;
    uint32_t buffer_count; /* after VTA_TOO_MANY_BUFFERS, how many there must be room for */
    uint32_t alignment;    /* of every address, in bytes */
    uint32_t version;
    uint32_t config[VTA_CONFIG_WORDS];
    uint32_t buffer; /* the buffer that the last error of memory is about; buffer_count: workspace */
    int linked;      /* whether the workspace holds instructions for the memory that is bound now */
    vta_memory workspace;
} vta_program;

/*
 * Reads a program that lies at `data`; the pointer need not be aligned, and nothing is copied.
 * Bytes after the end of the program are ignored. `buffers` is an array of `most` entries for the
 * program's buffers.
 *
 * If this is not VTA_OK, the program must not be used.
 *
 * Whatever the bytes are, nothing beyond `bytes` is read. The checksum finds damage, not intent: a
 * program can read and write all memory that the machine reaches.
 */
vta_status vta_load(vta_program *program, const void *data, size_t bytes, vta_buffer *buffers,
                    uint32_t most);

/* The index of the buffer of a name: VTA_NO_BUFFER if there is none. */
vta_status vta_find(const vta_program *program, const char *name, uint32_t *index);

/* The size of a buffer in a dimension; 0 if there is no such dimension. */
uint32_t vta_extent(const vta_buffer *buffer, uint32_t dimension);

/* Bytes that a buffer's memory must have: those of the array, rounded up to the alignment. The
 * machine may write the bytes after the array. */
uint64_t vta_room(const vta_program *program, const vta_buffer *buffer);

/* Bytes that vta_place needs. */
uint64_t vta_workspace_bytes(const vta_program *program);

/*
 * Gives a program memory for its instructions, constants and temporary arrays. The caller leaves it
 * alone from then on. VTA_TOO_SMALL, VTA_MISALIGNED or VTA_OUT_OF_REACH if it does not fit.
 */
vta_status vta_place(vta_program *program, vta_memory workspace);

/*
 * Gives an input or an output its memory, which may be changed between two runs. VTA_NO_BUFFER if
 * there is no input or output of this index; otherwise as vta_place.
 *
 * Numbers in memory are little-endian, whatever the processor is.
 */
vta_status vta_bind(vta_program *program, uint32_t index, vta_memory memory);

/* -- the machine ------------------------------------------------------------------------------- */

/* Why a machine halted. */
typedef struct vta_fault {
    uint32_t cause;  /* vta_cause */
    uint32_t module; /* vta_module */
    uint32_t insn;   /* the index of the instruction */
} vta_fault;

/* The first field of the configuration that differs. */
typedef struct vta_mismatch {
    const char *key; /* NULL: none */
    uint32_t machine;
    uint32_t program;
} vta_mismatch;

/* A machine. The caller may change `host` and `reset_polls`; the rest is for reading alone. */
typedef struct vta_machine {
    vta_host host;
    uint32_t reset_polls; /* how often a reset looks whether it is through */
    uint32_t version;
    uint32_t config[VTA_CONFIG_WORDS];
    vta_program *running;  /* NULL if the machine is idle */
    uint32_t cycles;       /* of the last run that ended without an error */
    vta_fault fault;       /* after VTA_FAULT */
    vta_mismatch mismatch; /* after VTA_WRONG_CONFIGURATION */
} vta_machine;

/* The value of `reset_polls` after vta_open. */
#define VTA_RESET_POLLS 100000u

/* Says that a machine is behind the host's functions: VTA_NO_MACHINE or VTA_WRONG_VERSION if none
 * is that this runtime knows. Call it again after the FPGA has been programmed. */
vta_status vta_open(vta_machine *machine, const vta_host *host);

/* Stops the machine: ends a run, waits for its last transfers, clears errors. */
vta_status vta_reset(vta_machine *machine);

/* Whether the end of a run raises the machine's interrupt (not after vta_open). */
vta_status vta_interrupt(vta_machine *machine, int on);

/*
 * Starts a program. The machine is reset first. Inputs must be complete, and neither they nor the
 * outputs may be touched until the run has ended.
 *
 * VTA_BUSY if a run goes on; VTA_WRONG_CONFIGURATION if the machine cannot run the program
 * (`mismatch` says why); VTA_NOT_BOUND if a buffer has no memory or the program was not placed,
 * VTA_OUT_OF_REACH if the machine cannot reach the memory (`program->buffer` says which).
 */
vta_status vta_launch(vta_machine *machine, vta_program *program);

/*
 * Looks once: VTA_RUNNING, or how the run ended. VTA_OK: the outputs are in their memory. VTA_FAULT:
 * the machine halted, and `fault` says why. VTA_STOPPED: somebody else reset the machine. VTA_IDLE:
 * nothing was launched. It clears the interrupt when the run has ended.
 */
vta_status vta_poll(vta_machine *machine);

/* Calls vta_poll until the run has ended, `polls` times at most; VTA_TIMEOUT if it goes on. It may
 * then be waited for again, or ended by vta_reset. */
vta_status vta_wait(vta_machine *machine, uint32_t polls);

/* -- words ------------------------------------------------------------------------------------- */

/*
 * All that is known of an error, in one sentence: with the cause, module and instruction of a fault,
 * the key that differs, or the buffer. `machine` and `program` may be NULL. At most `bytes` bytes are
 * written to `text`, the zero at the end included; 160 are enough but for long names of buffers.
 */
void vta_explain(const vta_machine *machine, const vta_program *program, vta_status status,
                 char *text, size_t bytes);

/* A sentence for a status. */
const char *vta_status_text(vta_status status);

/* A sentence for a cause in `vta_fault`. */
const char *vta_cause_text(uint32_t cause);

/* The name of a module in `vta_fault`. */
const char *vta_module_text(uint32_t module);

#ifdef __cplusplus
}
#endif

#endif
