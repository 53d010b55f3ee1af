"""Small Verilog designs whose cells can be counted by hand, for the tests of synthesis."""

from __future__ import annotations

__all__ = ["CELLS", "FEW_PINS", "TREE"]

# Four levels of modules, named by their places as Amaranth does:
# left          a product of 16 x 16
# left.a        seven flip-flops, three of them in left.a.b, two of those in left.a.b.c.d (level 5)
# memory        1024 x 32
# nothing       wires
# right         four flip-flops behind an enable that is tied low outside
TREE = r"""
module vta(input clk, input [15:0] x, y, input [9:0] at, input [31:0] put, input we,
           output [31:0] p, output [31:0] got, output [6:0] q, output [3:0] r, output [3:0] n);
  \vta.left left(.clk(clk), .x(x), .y(y), .p(p), .q(q));
  \vta.memory memory(.clk(clk), .at(at), .put(put), .we(we), .got(got));
  \vta.nothing nothing(.i(x[3:0]), .o(n));
  \vta.right right(.clk(clk), .en(1'b0), .d(y[3:0]), .q(r));
endmodule
module \vta.left (input clk, input signed [15:0] x, y, output signed [31:0] p, output [6:0] q);
  assign p = x * y;
  \vta.left.a a(.clk(clk), .d(x[6:0]), .q(q));
endmodule
module \vta.left.a (input clk, input [6:0] d, output [6:0] q);
  reg [3:0] low;
  always @(posedge clk) low <= d[3:0];
  assign q[3:0] = low;
  \vta.left.a.b b(.clk(clk), .d(d[6:4]), .q(q[6:4]));
endmodule
module \vta.left.a.b (input clk, input [2:0] d, output [2:0] q);
  reg one;
  always @(posedge clk) one <= ^d;
  assign q[2] = one;
  \vta.left.a.b.c c(.clk(clk), .d(d[1:0]), .q(q[1:0]));
endmodule
module \vta.left.a.b.c (input clk, input [1:0] d, output [1:0] q);
  \vta.left.a.b.c.d d_(.clk(clk), .d(d), .q(q));
endmodule
module \vta.left.a.b.c.d (input clk, input [1:0] d, output [1:0] q);
  reg [1:0] two;
  always @(posedge clk) two <= d;
  assign q = two;
endmodule
module \vta.memory (input clk, input [9:0] at, input [31:0] put, input we, output reg [31:0] got);
  reg [31:0] rows [0:1023];
  always @(posedge clk) begin
    if (we) rows[at] <= put;
    else got <= rows[at];
  end
endmodule
module \vta.nothing (input [3:0] i, output [3:0] o);
  assign o = i;
endmodule
module \vta.right (input clk, input en, input [3:0] d, output reg [3:0] q);
  initial q = 4'd0;
  always @(posedge clk) if (en) q <= d;
endmodule
"""

CELLS = {
    # Block RAM on xc7 (36 Kbit) and on ecp5 (18 Kbit).
    (): {"FF": 11, "DSP": 1, "BRAM": (1, 2)},
    ("left",): {"FF": 7, "DSP": 1, "BRAM": (0, 0)},
    ("left", "a"): {"FF": 7, "DSP": 0, "BRAM": (0, 0)},
    ("left", "a", "b"): {"FF": 3, "DSP": 0, "BRAM": (0, 0)},
    ("memory",): {"FF": 0, "DSP": 0, "BRAM": (1, 2)},
    ("right",): {"FF": 4, "DSP": 0, "BRAM": (0, 0)},
}
"""What `TREE` takes, down to the third level; `nothing` takes nothing. As one netlist, `right` is a
constant."""

# What `vta.hw.boards.few_pins` makes, around a machine of two registers.
FEW_PINS = r"""
module \vta.top (input clk, input [7:0] a, output [7:0] o);
  reg [7:0] total = 0, \count$3 = 0;
  always @(posedge clk) begin
    \count$3 <= \count$3 + a;
    if (\count$3 == 8'h5a) total <= total ^ a;
  end
  assign o = total;
endmodule
module vta(input clk, input i, input capture, output o);
  reg [7:0] source, sink;
  wire [7:0] out;
  always @(posedge clk) begin
    source <= {source[6:0], i};
    sink <= capture ? out : {sink[6:0], 1'b0};
  end
  assign o = sink[7];
  \vta.top top (.clk(clk), .a(source), .o(out));
endmodule
"""
