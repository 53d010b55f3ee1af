// What Verilator's FST writer needs of LZ4: a block compressor, without the library.
//
// The output is a valid LZ4 block, made greedily with one table of recent positions: somewhat
// larger than the library's, and readable by every FST viewer.

#ifndef VTA_FST_LZ4_H
#define VTA_FST_LZ4_H

#include <cstdint>
#include <cstring>
#include <vector>

inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

namespace vta_lz4 {

// A length's part that does not fit its four bits of the token.
inline uint8_t* put_length(uint8_t* out, int rest) {
    for (; rest >= 255; rest -= 255) *out++ = 255;
    *out++ = static_cast<uint8_t>(rest);
    return out;
}

// Literals, then a match of `match` bytes `offset` back; the last sequence has no match.
inline uint8_t* put_sequence(uint8_t* out, const uint8_t* literals, int count, int offset,
                             int match) {
    const int extra = match - 4;
    const int high = count < 15 ? count : 15;
    const int low = match == 0 ? 0 : extra < 15 ? extra : 15;
    *out++ = static_cast<uint8_t>(high << 4 | low);
    if (high == 15) out = put_length(out, count - 15);
    if (count > 0) std::memcpy(out, literals, count);
    out += count;
    if (match == 0) return out;
    *out++ = static_cast<uint8_t>(offset);
    *out++ = static_cast<uint8_t>(offset >> 8);
    if (low == 15) out = put_length(out, extra - 15);
    return out;
}

}  // namespace vta_lz4

inline int LZ4_compress_default(const char* source, char* destination, int size, int capacity) {
    if (capacity < LZ4_compressBound(size)) return 0;
    constexpr int HASH_BITS = 14, MAX_OFFSET = 65535;
    // The format wants the last match to start 12 bytes and to end 5 bytes before the end.
    constexpr int START_MARGIN = 12, END_MARGIN = 5;
    std::vector<int> recent(1 << HASH_BITS, -1);
    const uint8_t* const in = reinterpret_cast<const uint8_t*>(source);
    uint8_t* out = reinterpret_cast<uint8_t*>(destination);
    int literals = 0;
    for (int at = 0; at + START_MARGIN <= size;) {
        uint32_t word;
        std::memcpy(&word, in + at, 4);
        int& slot = recent[word * 2654435761u >> (32 - HASH_BITS)];
        const int candidate = slot;
        slot = at;
        if (candidate < 0 || at - candidate > MAX_OFFSET ||
            std::memcmp(in + candidate, in + at, 4) != 0) {
            ++at;
            continue;
        }
        int match = 4;
        while (at + match < size - END_MARGIN && in[candidate + match] == in[at + match]) ++match;
        out = vta_lz4::put_sequence(out, in + literals, at - literals, at - candidate, match);
        at += match;
        literals = at;
    }
    out = vta_lz4::put_sequence(out, in + literals, size - literals, 0, 0);
    return static_cast<int>(out - reinterpret_cast<uint8_t*>(destination));
}

#endif
