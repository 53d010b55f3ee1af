// What Verilator's runtime prints goes into a string of the thread, where the simulator finds it:
// the output of the process belongs to others. Every C++ file is compiled with this header first.

#ifndef VTA_MESSAGES_H
#define VTA_MESSAGES_H

__attribute__((format(printf, 1, 2))) int vta_print(const char* format, ...);
#define VL_PRINTF vta_print

#endif
