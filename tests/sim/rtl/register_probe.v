// A device with the accelerator's ports of which only the registers work: they hold what was
// written, except that a run, from the launch bit on, lasts as many cycles as insn_count says and
// then raises the interrupt; a reset lasts as long as the register at 0xffc says.
// `events` shows the register at 0xff8. IDENTITY stands for assignments that the test puts in.
module vta (
  input clk, input rst, output irq, output [14:0] events,
  output [2:0] m_axi__awid, output [31:0] m_axi__awaddr, output [7:0] m_axi__awlen,
  output [2:0] m_axi__awsize, output [1:0] m_axi__awburst, output m_axi__awvalid,
  input m_axi__awready, output [63:0] m_axi__wdata, output [7:0] m_axi__wstrb,
  output m_axi__wlast, output m_axi__wvalid, input m_axi__wready,
  input [2:0] m_axi__bid, input [1:0] m_axi__bresp, input m_axi__bvalid, output m_axi__bready,
  output [2:0] m_axi__arid, output [31:0] m_axi__araddr, output [7:0] m_axi__arlen,
  output [2:0] m_axi__arsize, output [1:0] m_axi__arburst, output m_axi__arvalid,
  input m_axi__arready, input [2:0] m_axi__rid, input [63:0] m_axi__rdata,
  input [1:0] m_axi__rresp, input m_axi__rlast, input m_axi__rvalid, output m_axi__rready,
  input [11:0] s_axi__awaddr, input [2:0] s_axi__awprot, input s_axi__awvalid,
  output s_axi__awready, input [31:0] s_axi__wdata, input [3:0] s_axi__wstrb,
  input s_axi__wvalid, output s_axi__wready, output [1:0] s_axi__bresp,
  output reg s_axi__bvalid, input s_axi__bready,
  input [11:0] s_axi__araddr, input [2:0] s_axi__arprot, input s_axi__arvalid,
  output s_axi__arready, output reg [31:0] s_axi__rdata, output [1:0] s_axi__rresp,
  output reg s_axi__rvalid, input s_axi__rready
);
  reg [31:0] words[0:1023];
  reg [31:0] left;
  reg running, resetting, ended;

  integer word;
  initial begin
    for (word = 0; word < 1024; word = word + 1) words[word] = 0;
    IDENTITY
  end

  assign irq = ended;
  assign events = words[1022][14:0];
  assign {m_axi__awid, m_axi__awaddr, m_axi__awlen, m_axi__awsize, m_axi__awburst} = 0;
  assign {m_axi__awvalid, m_axi__wdata, m_axi__wstrb, m_axi__wlast, m_axi__wvalid} = 0;
  assign {m_axi__arid, m_axi__araddr, m_axi__arlen, m_axi__arsize, m_axi__arburst} = 0;
  assign {m_axi__arvalid, m_axi__rready, m_axi__bready} = 0;

  // Address and data of a write are taken apart from one another, as AXI4-Lite allows.
  reg have_addr;
  reg [9:0] addr;
  assign s_axi__awready = !have_addr;
  assign s_axi__wready = have_addr && !s_axi__bvalid;
  assign s_axi__bresp = 0;
  assign s_axi__arready = !s_axi__rvalid;
  assign s_axi__rresp = 0;

  always @(posedge clk) begin
    if (s_axi__bready) s_axi__bvalid <= 0;
    if (s_axi__rready) s_axi__rvalid <= 0;
    left <= left - 1;
    if ((running || resetting) && left == 0) begin
      running <= 0;
      resetting <= 0;
      ended <= running;
    end
    if (s_axi__awvalid && s_axi__awready) begin
      have_addr <= 1;
      addr <= s_axi__awaddr[11:2];
    end
    if (s_axi__wvalid && s_axi__wready) begin
      have_addr <= 0;
      s_axi__bvalid <= 1;
      if (addr == 0) begin
        if (s_axi__wdata[2]) begin
          running <= 0;
          resetting <= 1;
          left <= words[1023];
        end else if (s_axi__wdata[0]) begin
          running <= 1;
          ended <= 0;
          left <= words[2];
        end
      end else
        words[addr] <= s_axi__wdata;
    end
    if (s_axi__arvalid && s_axi__arready) begin
      s_axi__rvalid <= 1;
      s_axi__rdata <= s_axi__araddr[11:2] == 0 ? {29'b0, resetting, ended, running}
                                               : words[s_axi__araddr[11:2]];
    end
    if (rst) begin
      left <= 0; running <= 0; resetting <= 0; ended <= 0; have_addr <= 0;
      s_axi__bvalid <= 0; s_axi__rvalid <= 0;
    end
  end
endmodule
