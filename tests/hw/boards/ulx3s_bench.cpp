// Joins the serial line of the simulated board to a file descriptor, byte by byte.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "Vbench.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main(int argc, char **argv) {
    const int fd = std::atoi(argv[1]), divisor = std::atoi(argv[2]);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    Vbench top;
    std::deque<unsigned char> waiting;
    unsigned out = 0, in = 0;
    int sending = 0, send_timer = 0, receiving = 0, receive_timer = 0, last = 1;
    top.rx = 1;
    for (unsigned long cycle = 0;; ++cycle) {
        top.rst = cycle < 8;
        if (cycle % 64 == 0) {
            unsigned char data[256];
            const ssize_t got = read(fd, data, sizeof data);
            if (got > 0)
                waiting.insert(waiting.end(), data, data + got);
            else if (got == 0 || getppid() == 1)
                break;
            if (top.failed) {
                std::fprintf(stderr, "the SDRAM was used wrongly\n");
                return 1;
            }
        }
        if (send_timer == 0 && (sending > 0 || !waiting.empty())) {
            if (sending == 0) {
                out = 0x200u | waiting.front() << 1;
                waiting.pop_front();
                sending = 10;
            }
            top.rx = out & 1;
            out >>= 1;
            --sending;
            send_timer = divisor;
        }
        if (send_timer > 0) --send_timer;
        if (receiving == 0 && last && !top.tx) {
            receiving = 9;
            receive_timer = divisor + divisor / 2;
            in = 0;
        } else if (receiving > 0 && --receive_timer == 0) {
            if (receiving > 1) in |= static_cast<unsigned>(top.tx) << (9 - receiving);
            receive_timer = divisor;
            if (--receiving == 0) {
                const unsigned char byte = static_cast<unsigned char>(in);
                if (write(fd, &byte, 1) != 1) break;
            }
        }
        last = top.tx;
        top.clk = 0;
        top.eval();
        top.clk = 1;
        top.eval();
    }
    return 0;
}
