// The ULX3S system with its SDRAM, for Verilator: clocks, a serial line, nothing else.

// ECP5's registers at pins, and its bidirectional pin.
module OFS1P3BX(input D, input SCLK, input SP, input PD, output reg Q);
  initial Q = 1;
  always @(posedge SCLK) if (SP) Q <= D;
endmodule
module IFS1P3BX(input D, input SCLK, input SP, input PD, output reg Q);
  initial Q = 1;
  always @(posedge SCLK) if (SP) Q <= D;
endmodule
module FD1S3BX(input D, input CK, input PD, output reg Q);
  initial Q = 1;
  always @(posedge CK or posedge PD) if (PD) Q <= 1; else Q <= D;
endmodule
module TRELLIS_IO #(parameter DIR = "BIDIR") (inout B, input I, input T, output O);
  assign B = T ? 1'bz : I;
  assign O = B;
endmodule

// MT48LC16M16: four banks of 8192 rows of 512 columns of 16 bits; CAS latency 2, bursts of one.
module sdram(
  input clk, input cke, input cs_n, input ras_n, input cas_n, input we_n,
  input [1:0] ba, input [12:0] a, input [1:0] dm, inout [15:0] dq
);
  reg [15:0] cells [0:(1 << 24) - 1];
  reg [12:0] row [0:3];
  reg [3:0] open = 0;
  reg [15:0] read_1 = 0, read_2 = 0;
  reg valid_1 = 0, valid_2 = 0;
  reg [2:0] latency = 0;
  reg failed = 0;
  wire [2:0] command = {ras_n, cas_n, we_n};
  wire [23:0] place = {ba, row[ba], a[8:0]};
  assign dq = valid_2 ? read_2 : 16'bz;

  always @(posedge clk) begin
    valid_1 <= 0;
    valid_2 <= valid_1;
    read_2 <= read_1;
    if (cke && !cs_n) case (command)
      3'b000: latency <= a[6:4];
      3'b010: if (a[10]) open <= 0; else open[ba] <= 0;
      3'b011: begin row[ba] <= a; open[ba] <= 1; end
      3'b101: begin
        if (latency != 2 || !open[ba]) failed <= 1;
        read_1 <= cells[place];
        valid_1 <= 1;
        if (a[10]) open[ba] <= 0;
      end
      3'b100: begin
        if (latency != 2 || !open[ba]) failed <= 1;
        if (!dm[0]) cells[place][7:0] <= dq[7:0];
        if (!dm[1]) cells[place][15:8] <= dq[15:8];
        if (a[10]) open[ba] <= 0;
      end
      default: ;
    endcase
  end
endmodule

module bench(input clk, input rst, input rx, output tx, output failed);
  wire [12:0] a;
  wire [1:0] ba, dm;
  wire cas_n, cke, cs_n, ras_n, we_n;
  wire [15:0] dq;
  vta system(
    .clk(clk), .rst(rst), .rx(rx), .tx(tx), .sdram_a(a), .sdram_ba(ba), .sdram_cas_n(cas_n),
    .sdram_cke(cke), .sdram_cs_n(cs_n), .sdram_dm(dm), .sdram_dq(dq), .sdram_ras_n(ras_n),
    .sdram_we_n(we_n)
  );
  // The board clocks the SDRAM a quarter of a cycle after the rest, and here it is half a cycle.
  sdram sdram(
    .clk(~clk), .cke(cke), .cs_n(cs_n), .ras_n(ras_n), .cas_n(cas_n), .we_n(we_n), .ba(ba), .a(a),
    .dm(dm), .dq(dq)
  );
  assign failed = sdram.failed;
endmodule
