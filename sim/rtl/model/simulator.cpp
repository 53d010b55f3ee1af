// The verilated top `vta`, clocked against the memory model and driven over its registers.

#include "simulator.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "Vvta.h"
#include "memory_model.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif VM_TRACE_VCD
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

// Verilator spells a double underscore in a port's name so.
#define M_AXI(name) m_axi___05F##name
#define S_AXI(name) s_axi___05F##name

#define VTA_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t RESET_CYCLES = 8;
// A register interface that does not answer for so long never will.
constexpr uint64_t PATIENCE = 100000;
constexpr uint64_t HALF_PERIOD_NS = 5;

using Data = std::remove_reference_t<decltype(std::declval<Vvta&>().M_AXI(wdata))>;
using Model = vta::MemoryModel<sizeof(Data)>;

vta::Settings model_settings(const vta_settings& from) {
    return {from.memory,         from.memory_bytes, from.dirty,       from.latency,
            from.write_response, from.outstanding,  from.stalls != 0, from.stall_seed,
            from.max_burst,      from.reorder != 0, from.order_seed};
}

// What the design has printed in this call: its failed assertions.
thread_local std::string printed;

}  // namespace

int vta_print(const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    const int length = std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printed += text;
    return length;
}

struct vta_sim {
    explicit vta_sim(const vta_settings& settings)
        : top_(&context_, "TOP"), memory_(model_settings(settings)) {
#if VM_TRACE
        if (settings.waves != nullptr) {
            context_.traceEverOn(true);
            trace_ = std::make_unique<Trace>();
            top_.trace(trace_.get(), 99);
            trace_->open(settings.waves);
        }
#endif
        context_.fatalOnError(false);
        enter();
        idle_pins();
        top_.rst = 1;
        for (uint64_t i = 0; i < RESET_CYCLES; ++i) clock();
        top_.rst = 0;
        leave();
    }

    ~vta_sim() {
        enter();
        top_.final();
#if VM_TRACE
        if (trace_) trace_->close();
#endif
    }

    uint64_t step(uint64_t cycles, bool until_irq) {
        const uint64_t start = cycle_;
        enter();
        while (cycle_ - start < cycles && !failed()) {
            tick();
            if (until_irq && top_.irq) break;
        }
        leave();
        return cycle_ - start;
    }

    int read(uint32_t addr, uint32_t* value) {
        enter();
        const int status = read_register(addr, value);
        leave();
        return status;
    }

    int write(uint32_t addr, uint32_t value) {
        enter();
        const int status = write_register(addr, value);
        leave();
        return status;
    }

    uint64_t cycle() const { return cycle_; }

    void record(bool on) {
        if (on) changes_.clear();
        recording_ = on;
        recorded_ = NOTHING;
    }

    const std::vector<uint64_t>& changes() const { return changes_; }

    const char* error() {
        if (!failed()) return "";
        message_ = (memory_.failed() ? "AXI protocol violation, a bug of the hardware: " +
                                           memory_.error()
                                     : assertion_) +
                   " (cycle " + std::to_string(cycle_ - 1) + ")";
        return message_.c_str();
    }

private:
    // Before and after each call, which may come from any thread.
    void enter() {
        Verilated::threadContextp(&context_);
        printed.clear();
    }

    void leave() {
        if (!context_.gotError() || !assertion_.empty()) return;
        // "[time] %Error: vta.v:line: Assertion failed in place: text", then what follows from it.
        const std::string mark = "Assertion failed in TOP.";
        const size_t found = printed.find(mark);
        const size_t from = found == std::string::npos ? 0 : found + mark.size();
        assertion_ = "assertion failed, a bug of the hardware: " +
                     printed.substr(from, printed.find('\n', from) - from);
    }

    bool failed() const { return memory_.failed() || context_.gotError(); }

    int read_register(uint32_t addr, uint32_t* value) {
        top_.S_AXI(araddr) = addr;
        top_.S_AXI(arvalid) = 1;
        top_.S_AXI(rready) = 1;
        for (uint64_t waited = 0; waited < PATIENCE; ++waited) {
            tick();
            if (failed()) return 3;
            if (lite_.ar_ready) top_.S_AXI(arvalid) = 0;
            if (lite_.r_valid) {
                top_.S_AXI(arvalid) = top_.S_AXI(rready) = 0;
                *value = lite_.r_data;
                return lite_.r_resp ? 2 : 0;
            }
        }
        return 1;
    }

    int write_register(uint32_t addr, uint32_t value) {
        top_.S_AXI(awaddr) = addr;
        top_.S_AXI(wdata) = value;
        top_.S_AXI(wstrb) = 0xf;
        top_.S_AXI(awvalid) = top_.S_AXI(wvalid) = top_.S_AXI(bready) = 1;
        for (uint64_t waited = 0; waited < PATIENCE; ++waited) {
            tick();
            if (failed()) return 3;
            if (lite_.aw_ready) top_.S_AXI(awvalid) = 0;
            if (lite_.w_ready) top_.S_AXI(wvalid) = 0;
            if (lite_.b_valid) {
                top_.S_AXI(awvalid) = top_.S_AXI(wvalid) = top_.S_AXI(bready) = 0;
                return lite_.b_resp ? 2 : 0;
            }
        }
        return 1;
    }

    // What the register interface said before the edge.
    struct Lite {
        bool aw_ready, w_ready, b_valid, ar_ready, r_valid;
        uint32_t b_resp, r_resp, r_data;
    };

    void idle_pins() {
        top_.clk = 0;
        top_.S_AXI(awvalid) = top_.S_AXI(wvalid) = top_.S_AXI(bready) = 0;
        top_.S_AXI(arvalid) = top_.S_AXI(rready) = 0;
        top_.S_AXI(awaddr) = top_.S_AXI(araddr) = 0;
        top_.S_AXI(awprot) = top_.S_AXI(arprot) = 0;
        top_.S_AXI(wdata) = 0;
        top_.S_AXI(wstrb) = 0;
        top_.M_AXI(arready) = top_.M_AXI(awready) = top_.M_AXI(wready) = 0;
        top_.M_AXI(rvalid) = top_.M_AXI(bvalid) = 0;
    }

    // One cycle with the memory: what it says, what the device answers, the edge.
    void tick() {
        memory_.drive(cycle_);
        top_.M_AXI(arready) = memory_.ar_ready;
        top_.M_AXI(awready) = memory_.aw_ready;
        top_.M_AXI(wready) = memory_.w_ready;
        top_.M_AXI(rvalid) = memory_.r_valid;
        top_.M_AXI(rlast) = memory_.r_last;
        top_.M_AXI(rid) = memory_.r_id;
        top_.M_AXI(rresp) = memory_.r_resp;
        std::memcpy(&top_.M_AXI(rdata), memory_.r_data, sizeof memory_.r_data);
        top_.M_AXI(bvalid) = memory_.b_valid;
        top_.M_AXI(bid) = memory_.b_id;
        top_.M_AXI(bresp) = memory_.b_resp;
        settle();
        if (recording_) note_change();

        Model::Device device;
        device.ar_valid = top_.M_AXI(arvalid);
        device.aw_valid = top_.M_AXI(awvalid);
        device.w_valid = top_.M_AXI(wvalid);
        device.r_ready = top_.M_AXI(rready);
        device.b_ready = top_.M_AXI(bready);
        device.ar = {top_.M_AXI(araddr), top_.M_AXI(arlen), top_.M_AXI(arsize),
                     top_.M_AXI(arburst), top_.M_AXI(arid)};
        device.aw = {top_.M_AXI(awaddr), top_.M_AXI(awlen), top_.M_AXI(awsize),
                     top_.M_AXI(awburst), top_.M_AXI(awid)};
        device.w_data = &top_.M_AXI(wdata);
        device.w_strb = top_.M_AXI(wstrb);
        device.w_last = top_.M_AXI(wlast);
        memory_.sample(cycle_, device);

        lite_ = {bool(top_.S_AXI(awready)), bool(top_.S_AXI(wready)), bool(top_.S_AXI(bvalid)),
                 bool(top_.S_AXI(arready)), bool(top_.S_AXI(rvalid)), top_.S_AXI(bresp),
                 top_.S_AXI(rresp),         top_.S_AXI(rdata)};
        edge();
    }

    // Long stretches are alike, so that millions of cycles make a short record.
    void note_change() {
        const uint64_t word = top_.events |
                              uint64_t(memory_.r_valid && top_.M_AXI(rready)) << 15 |
                              uint64_t(memory_.w_ready && top_.M_AXI(wvalid)) << 16 |
                              uint64_t(memory_.pending()) << 17;
        if (word == recorded_) return;
        changes_.push_back(cycle_ << VTA_RECORD_BITS | word);
        recorded_ = word;
    }

    // One cycle that the memory does not see: the device is in reset.
    void clock() {
        settle();
        edge();
    }

    void settle() {
        top_.clk = 0;
        top_.eval();
        dump();
    }

    void edge() {
        top_.clk = 1;
        top_.eval();
        ++cycle_;
        dump();
    }

    void dump() {
#if VM_TRACE
        if (trace_) {
            context_.timeInc(HALF_PERIOD_NS);
            trace_->dump(context_.time());
        }
#endif
    }

    VerilatedContext context_;
    Vvta top_;
    Model memory_;
    Lite lite_{};
    uint64_t cycle_ = 0;
    std::string message_, assertion_;
    // A word that no cycle has: the first one recorded is always a change.
    static constexpr uint64_t NOTHING = ~uint64_t(0);
    bool recording_ = false;
    uint64_t recorded_ = NOTHING;
    std::vector<uint64_t> changes_;
#if VM_TRACE
    std::unique_ptr<Trace> trace_;
#endif
};

VTA_EXPORT vta_sim* vta_create(const vta_settings* settings) { return new vta_sim(*settings); }

VTA_EXPORT void vta_destroy(vta_sim* sim) { delete sim; }

VTA_EXPORT uint64_t vta_step(vta_sim* sim, uint64_t cycles, int until_irq) {
    return sim->step(cycles, until_irq != 0);
}

VTA_EXPORT int vta_read(vta_sim* sim, uint32_t addr, uint32_t* value) {
    return sim->read(addr, value);
}

VTA_EXPORT int vta_write(vta_sim* sim, uint32_t addr, uint32_t value) {
    return sim->write(addr, value);
}

VTA_EXPORT void vta_record(vta_sim* sim, int on) { sim->record(on != 0); }

VTA_EXPORT uint64_t vta_changes(const vta_sim* sim, const uint64_t** changes) {
    *changes = sim->changes().data();
    return sim->changes().size();
}

VTA_EXPORT uint64_t vta_cycle(const vta_sim* sim) { return sim->cycle(); }

VTA_EXPORT const char* vta_error(const vta_sim* sim) {
    return const_cast<vta_sim*>(sim)->error();
}
