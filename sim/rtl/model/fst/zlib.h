// What Verilator's FST writer needs of zlib: a stream of stored blocks, without the library.
//
// The writer compares the result with what it was made of and keeps the smaller, so its zlib
// sections end up plain; only its signal geometry is written that way, and that is small.

#ifndef VTA_FST_ZLIB_H
#define VTA_FST_ZLIB_H

#include <cstring>

using Bytef = unsigned char;
using uLong = unsigned long;
using uLongf = unsigned long;

constexpr int Z_OK = 0, Z_BUF_ERROR = -5;

inline uLong compressBound(uLong size) { return size + 5 * (size / 65535 + 1) + 6; }

inline int compress2(Bytef* destination, uLongf* capacity, const Bytef* source, uLong size, int) {
    if (*capacity < compressBound(size)) return Z_BUF_ERROR;
    Bytef* out = destination;
    *out++ = 0x78;
    *out++ = 0x01;
    uLong done = 0;
    do {
        const uLong count = size - done < 65535 ? size - done : 65535;
        *out++ = done + count == size;
        *out++ = static_cast<Bytef>(count);
        *out++ = static_cast<Bytef>(count >> 8);
        *out++ = static_cast<Bytef>(~count);
        *out++ = static_cast<Bytef>(~count >> 8);
        if (count > 0) std::memcpy(out, source + done, count);
        out += count;
        done += count;
    } while (done < size);
    uLong low = 1, high = 0;
    for (uLong i = 0; i < size; ++i) {
        low = (low + source[i]) % 65521;
        high = (high + low) % 65521;
    }
    *out++ = static_cast<Bytef>(high >> 8);
    *out++ = static_cast<Bytef>(high);
    *out++ = static_cast<Bytef>(low >> 8);
    *out++ = static_cast<Bytef>(low);
    *capacity = static_cast<uLongf>(out - destination);
    return Z_OK;
}

#endif
