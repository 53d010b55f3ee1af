// The memory behind the AXI4 master: latency, limits, stalls, and a check of the bus protocol.
//
// A cycle has two halves. `drive` sets what the memory says in this cycle, from its registers
// alone; then the device settles, and `sample` looks at what the device says and does the
// handshakes. So nothing here depends on the device within a cycle, as with a real registered
// slave.
//
// With a burst's address taken in cycle t its first beat is offered in cycle t + latency, or as
// soon after as the bursts before it allow, which are those of the same identifier if reads come
// out of order and all of them if not; with the last beat of a write taken in cycle t (and
// its address by then) the response is offered in cycle t + write_response.

#ifndef VTA_MEMORY_MODEL_H
#define VTA_MEMORY_MODEL_H

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace vta {

// A queue that allocates only when it has to grow.
template <typename T>
class Ring {
public:
    bool empty() const { return size_ == 0; }
    uint64_t size() const { return size_; }
    T& front() { return slots_[head_]; }
    void pop() {
        head_ = (head_ + 1) & mask_;
        --size_;
    }
    void push(const T& item) {
        if (size_ > mask_) grow();
        slots_[(head_ + size_) & mask_] = item;
        ++size_;
    }

private:
    void grow() {
        std::vector<T> wider(slots_.size() * 2);
        for (uint64_t i = 0; i < size_; ++i) wider[i] = slots_[(head_ + i) & mask_];
        slots_.swap(wider);
        head_ = 0;
        mask_ = slots_.size() - 1;
    }

    std::vector<T> slots_ = std::vector<T>(64);
    uint64_t head_ = 0, size_ = 0, mask_ = 63;
};

// Random numbers (SplitMix64) that follow from a seed and the number of their user.
class Random {
public:
    void seed(uint64_t seed, uint64_t user) {
        state_ = seed * 0x9E3779B97F4A7C15u + (user + 1) * 0xD1B54A32D192ED03u;
    }
    uint64_t draw() {
        uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }

private:
    uint64_t state_ = 0;
};

// Random stalls of one channel: phases of no, few, many and long ones, from a seed.
class Stalls {
public:
    void seed(uint64_t seed, uint64_t channel) {
        random_.seed(seed, channel);
        enabled_ = true;
    }
    // Once a cycle: whether the channel stalls in it.
    bool next() {
        if (!enabled_) return false;
        const uint64_t random = random_.draw();
        if (phase_left_ == 0) {
            phase_left_ = 16 + ((random >> 8) & 255);
            phase_ = random & 3;
        }
        --phase_left_;
        if (stall_left_ != 0) {
            --stall_left_;
            return true;
        }
        const uint32_t dice = (random >> 32) & 255;
        switch (phase_) {
            case 0: return false;
            case 1: return dice < 64;
            case 2: return dice < 208;
            default:
                if (dice >= 24) return false;
                stall_left_ = (random >> 40) & 127;
                return true;
        }
    }

private:
    bool enabled_ = false;
    Random random_;
    uint32_t phase_ = 0, phase_left_ = 0, stall_left_ = 0;
};

// What a device says on one of its address channels.
struct Address {
    uint64_t addr = 0;
    uint32_t len = 0, size = 0, burst = 0, id = 0;
    bool operator==(const Address& other) const {
        return addr == other.addr && len == other.len && size == other.size &&
               burst == other.burst && id == other.id;
    }
};

struct Settings {
    uint8_t* memory;
    uint64_t memory_bytes;
    uint8_t* dirty;  // a byte for each page, set by every write
    uint64_t latency, write_response;
    uint64_t outstanding;  // bursts in flight, reads and writes apart; 0 for no limit
    bool stalls;
    uint64_t stall_seed;
    uint32_t max_burst;  // beats
    bool reorder;  // reads of different identifiers come out of order and interleaved
    uint64_t order_seed;
};

template <uint32_t BUS_BYTES>
class MemoryModel {
public:
    static constexpr uint32_t PAGE_BYTES = 4096;

    struct Beat {
        uint8_t data[BUS_BYTES];
        uint32_t strb;
        bool last;
    };

    // The device's side of the bus, sampled once it has settled.
    struct Device {
        bool ar_valid, aw_valid, w_valid, r_ready, b_ready;
        Address ar, aw;  // meaningful while valid
        const void* w_data;
        uint32_t w_strb;
        bool w_last;
    };

    // The memory's side, as `drive` leaves it.
    bool ar_ready = false, aw_ready = false, w_ready = false;
    bool r_valid = false, r_last = false, b_valid = false;
    uint32_t r_id = 0, r_resp = 0, b_id = 0, b_resp = 0;
    uint8_t r_data[BUS_BYTES] = {};

    explicit MemoryModel(const Settings& settings) : set_(settings) {
        if (set_.stalls) {
            for (uint32_t channel = 0; channel < 5; ++channel) {
                stalls_[channel].seed(set_.stall_seed, channel);
            }
        }
        order_.seed(set_.order_seed, 5);
    }

    bool failed() const { return !error_.empty(); }
    const std::string& error() const { return error_; }
    // Whether a burst has been asked for and not been answered to the end.
    bool pending() const { return reads_in_flight_ != 0 || writes_in_flight_ != 0; }

    void drive(uint64_t now) {
        const uint64_t limit = set_.outstanding ? set_.outstanding : UINT64_MAX;
        ar_ready = !stalls_[AR].next() && reads_in_flight_ < limit;
        aw_ready = !stalls_[AW].next() && writes_in_flight_ < limit;
        w_ready = !stalls_[W].next();
        // What is offered stays until it is taken: a stall only delays the offer.
        const bool r_stall = stalls_[R].next();
        if (!r_valid && !r_stall && choose_burst(now)) offer_beat();
        const bool b_stall = stalls_[B].next();
        if (!b_valid && !b_stall && !responses_.empty() && now >= responses_.front().due) {
            b_valid = true;
            b_id = responses_.front().id;
            b_resp = responses_.front().resp;
        }
    }

    void sample(uint64_t now, const Device& device) {
        check_held(device);
        if (device.ar_valid && ar_ready) accept_read(now, device.ar);
        if (r_valid && device.r_ready) {
            r_valid = false;
            if (r_last) {
                reads_[chosen_].pop();
                --reads_in_flight_;
            }
        }
        if (device.aw_valid && aw_ready) accept_write(device.aw);
        if (device.w_valid && w_ready) {
            Beat beat;
            std::memcpy(beat.data, device.w_data, BUS_BYTES);
            beat.strb = device.w_strb;
            beat.last = device.w_last;
            beats_.push(beat);
        }
        while (!writes_.empty() && !beats_.empty()) write_beat(now);
        if (b_valid && device.b_ready) {
            b_valid = false;
            responses_.pop();
            --writes_in_flight_;
        }
    }

private:
    enum Channel { AR, R, AW, W, B };

    struct Burst {
        uint64_t due = 0;
        uint64_t addr = 0;  // of the next beat's lowest lane
        uint32_t left = 0, id = 0;
        uint32_t skip = 0;  // lanes of the first beat that lie before an unaligned address
        bool beyond = false;
    };

    struct Response {
        uint64_t due;
        uint32_t id, resp;
    };

    bool due(uint32_t queue, uint64_t now) {
        return !reads_[queue].empty() && now >= reads_[queue].front().due;
    }

    // Whether a burst is due, and which one is `chosen_`. Out of order, a burst is left after
    // any beat, but mostly goes on, as an interconnect does that has several memories behind it.
    bool choose_burst(uint64_t now) {
        if (!set_.reorder) return due(0, now);
        const uint64_t random = order_.draw();
        if ((random & 3) != 0 && due(chosen_, now)) return true;
        for (uint32_t step = 0; step < IDS; ++step) {
            const uint32_t queue = ((random >> 8) + step) % IDS;
            if (due(queue, now)) {
                chosen_ = queue;
                return true;
            }
        }
        return false;
    }

    void offer_beat() {
        Burst& burst = reads_[chosen_].front();
        if (burst.beyond) {
            std::memset(r_data, 0, BUS_BYTES);
        } else {
            std::memcpy(r_data, set_.memory + burst.addr, BUS_BYTES);
        }
        burst.addr += BUS_BYTES;
        --burst.left;
        r_valid = true;
        r_last = burst.left == 0;
        r_id = burst.id;
        r_resp = burst.beyond ? DECERR : OKAY;
    }

    void accept_read(uint64_t now, const Address& ar) {
        Burst burst = checked("AR", ar);
        burst.due = now + set_.latency;
        if (set_.reorder) {
            if (ar.id >= IDS) fail("ARID is %u: at most %u are known", ar.id, IDS - 1);
            burst.due += (order_.draw() >> 8) % 64;
        }
        reads_[set_.reorder ? ar.id % IDS : 0].push(burst);
        ++reads_in_flight_;
    }

    void accept_write(const Address& aw) {
        writes_.push(checked("AW", aw));
        ++writes_in_flight_;
    }

    void write_beat(uint64_t now) {
        Burst& burst = writes_.front();
        const Beat& beat = beats_.front();
        if (beat.last != (burst.left == 1)) {
            fail(beat.last ? "WLAST comes %u beats early" : "WLAST is missing at the last beat",
                 burst.left - 1);
        }
        if (beat.strb & ((1u << burst.skip) - 1)) {
            fail("WSTRB %#x writes below the burst's address", beat.strb);
        }
        if (!burst.beyond) store(burst.addr, beat);
        burst.addr += BUS_BYTES;
        burst.skip = 0;
        if (--burst.left == 0) {
            responses_.push({now + set_.write_response, burst.id, burst.beyond ? DECERR : OKAY});
            writes_.pop();
        }
        beats_.pop();
    }

    void store(uint64_t addr, const Beat& beat) {
        uint8_t* const place = set_.memory + addr;
        if (beat.strb == ALL_LANES) {
            std::memcpy(place, beat.data, BUS_BYTES);
        } else if (beat.strb == 0) {
            return;
        } else {
            for (uint32_t lane = 0; lane < BUS_BYTES; ++lane) {
                if (beat.strb >> lane & 1) place[lane] = beat.data[lane];
            }
        }
        set_.dirty[addr / PAGE_BYTES] = 1;
    }

    // The burst of an address, after the rules that every burst obeys.
    Burst checked(const char* channel, const Address& address) {
        Burst burst;
        burst.left = address.len + 1;
        burst.id = address.id;
        burst.skip = address.addr % BUS_BYTES;
        burst.addr = address.addr - burst.skip;
        const uint64_t end = burst.addr + uint64_t(burst.left) * BUS_BYTES;
        burst.beyond = end > set_.memory_bytes;
        if ((1u << address.size) != BUS_BYTES) {
            fail("%sSIZE is %u: a beat must be %u bytes", channel, address.size, BUS_BYTES);
        }
        if (address.burst != INCR) fail("%sBURST is %u, not INCR", channel, address.burst);
        if (burst.left > set_.max_burst) {
            fail("%s asks for a burst of %u beats; at most %u are allowed", channel, burst.left,
                 set_.max_burst);
        }
        if (burst.addr / PAGE_BYTES != (end - 1) / PAGE_BYTES) {
            fail("%s burst of %u beats at %#llx crosses a 4 KiB boundary", channel, burst.left,
                 static_cast<unsigned long long>(address.addr));
        }
        return burst;
    }

    // What was offered and not taken in the last cycle must be offered still, and unchanged.
    void check_held(const Device& device) {
        if (ar_held_ && !device.ar_valid) fail("ARVALID dropped before ARREADY");
        if (ar_held_ && !(device.ar == ar_)) fail("AR changed while it waited for ARREADY");
        ar_held_ = device.ar_valid && !ar_ready;
        if (ar_held_) ar_ = device.ar;

        if (aw_held_ && !device.aw_valid) fail("AWVALID dropped before AWREADY");
        if (aw_held_ && !(device.aw == aw_)) fail("AW changed while it waited for AWREADY");
        aw_held_ = device.aw_valid && !aw_ready;
        if (aw_held_) aw_ = device.aw;

        if (w_held_ && !device.w_valid) fail("WVALID dropped before WREADY");
        if (w_held_ && (std::memcmp(w_.data, device.w_data, BUS_BYTES) != 0 ||
                        w_.strb != device.w_strb || w_.last != device.w_last)) {
            fail("W changed while it waited for WREADY");
        }
        w_held_ = device.w_valid && !w_ready;
        if (w_held_) {
            std::memcpy(w_.data, device.w_data, BUS_BYTES);
            w_.strb = device.w_strb;
            w_.last = device.w_last;
        }
    }

    // The first violation stands; the simulation stops at it.
    __attribute__((format(printf, 2, 3), noinline, cold)) void fail(const char* format, ...) {
        if (failed()) return;
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        error_ = text;
    }

    static constexpr uint32_t OKAY = 0, DECERR = 3, INCR = 1;
    static constexpr uint32_t IDS = 8;
    static constexpr uint32_t ALL_LANES = BUS_BYTES == 32 ? ~0u : (1u << BUS_BYTES % 32) - 1;

    const Settings set_;
    Stalls stalls_[5];
    // Read bursts by identifier; all in the first queue if they are answered in order.
    Ring<Burst> reads_[IDS];
    uint32_t chosen_ = 0;
    uint64_t reads_in_flight_ = 0;
    Random order_;
    Ring<Burst> writes_;
    Ring<Beat> beats_;
    Ring<Response> responses_;
    uint64_t writes_in_flight_ = 0;
    bool ar_held_ = false, aw_held_ = false, w_held_ = false;
    Address ar_, aw_;
    Beat w_{};
    std::string error_;
};

}  // namespace vta

#endif
