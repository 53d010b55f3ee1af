// A device with the accelerator's ports whose memory bus plays what the host has written into it
// and records what comes back, with the cycle of each handshake.
//
//   0x000 w   go: bit 0 AR, bit 1 AW, bit 2 W
//   0x004 w   ready: low 16 bits RREADY, high 16 BREADY; bit (cycle mod 16) says ready
//   0x008 w   misbehave: 1 drop ARVALID, 2 change AR, 3 drop WVALID, 4 change W, 5 drop AWVALID,
//             each after it has waited for a cycle
//   0x00c w   cycles that W and AW start after go: low 16 bits W, high 16 AW
//   0x010 w   address of the next AR or AW;  0x014 w: push AR {size, burst, id, len};
//   0x018 w   push AW, the same
//   0x020.. w data of the next W beat, 8 words;  0x040 w: its strobes; 0x044 w: push W {last}
//   0x050 w   index of the record to read:
//   0x060 r   AR: cycle    0x064 r  R: cycle   0x068 r  R: {last, resp, id}  0x06c r  R: low word
//   0x070 r   R: top word  0x074 r  AW: cycle  0x078 r  W: cycle             0x07c r  B: cycle
//   0x080 r   B: {resp, id}
//   0x090 r   counts {B, W, AW}   0x094 r: counts {R, AR}   0x098 r: broken rules of the memory
//   0x09c r   cycle     0x0a0 w: raise the interrupt at this cycle
module vta #(parameter DATA = 64, parameter ADDR = 32) (
  input clk, input rst, output irq, output [14:0] events,
  output [2:0] m_axi__awid, output [ADDR-1:0] m_axi__awaddr, output [7:0] m_axi__awlen,
  output [2:0] m_axi__awsize, output [1:0] m_axi__awburst, output m_axi__awlock,
  output [3:0] m_axi__awcache, output [2:0] m_axi__awprot, output [3:0] m_axi__awqos,
  output m_axi__awvalid, input m_axi__awready,
  output [DATA-1:0] m_axi__wdata, output [DATA/8-1:0] m_axi__wstrb, output m_axi__wlast,
  output m_axi__wvalid, input m_axi__wready,
  input [2:0] m_axi__bid, input [1:0] m_axi__bresp, input m_axi__bvalid, output m_axi__bready,
  output [2:0] m_axi__arid, output [ADDR-1:0] m_axi__araddr, output [7:0] m_axi__arlen,
  output [2:0] m_axi__arsize, output [1:0] m_axi__arburst, output m_axi__arlock,
  output [3:0] m_axi__arcache, output [2:0] m_axi__arprot, output [3:0] m_axi__arqos,
  output m_axi__arvalid, input m_axi__arready,
  input [2:0] m_axi__rid, input [DATA-1:0] m_axi__rdata, input [1:0] m_axi__rresp,
  input m_axi__rlast, input m_axi__rvalid, output m_axi__rready,
  input [11:0] s_axi__awaddr, input [2:0] s_axi__awprot, input s_axi__awvalid,
  output s_axi__awready, input [31:0] s_axi__wdata, input [3:0] s_axi__wstrb,
  input s_axi__wvalid, output s_axi__wready, output [1:0] s_axi__bresp,
  output reg s_axi__bvalid, input s_axi__bready,
  input [11:0] s_axi__araddr, input [2:0] s_axi__arprot, input s_axi__arvalid,
  output s_axi__arready, output reg [31:0] s_axi__rdata, output [1:0] s_axi__rresp,
  output reg s_axi__rvalid, input s_axi__rready
);
  reg [31:0] now;
  reg [2:0] go;
  reg [31:0] ready;
  reg [2:0] misbehave;
  reg [31:0] delays, since_go;
  reg [31:0] alarm;
  reg [39:0] addr;
  reg [255:0] data;
  reg [31:0] strobes;
  reg [9:0] index;

  reg [ADDR+15:0] ar_list[0:1023], aw_list[0:1023];
  reg [DATA+DATA/8:0] w_list[0:1023];
  reg [10:0] ar_end, aw_end, w_end, ar_at, aw_at, w_at, r_at, b_at;
  reg [31:0] ar_time[0:1023], r_time[0:1023], r_low[0:1023], r_top[0:1023], r_info[0:1023];
  reg [31:0] aw_time[0:1023], w_time[0:1023], b_time[0:1023], b_info[0:1023];
  reg ar_waited, aw_waited, w_waited;

  assign events = {14'b0, now[3:0] == 0};
  assign irq = alarm != 0 && now >= alarm;

  // The bus: each list is played as fast as the memory takes it.
  wire ar_on = go[0] && ar_at != ar_end;
  wire aw_on = go[1] && aw_at != aw_end && since_go >= {16'b0, delays[31:16]};
  wire w_on = go[2] && w_at != w_end && since_go >= {16'b0, delays[15:0]};
  assign m_axi__arvalid = ar_on && !(misbehave == 1 && ar_waited);
  assign m_axi__awvalid = aw_on && !(misbehave == 5 && aw_waited);
  assign m_axi__wvalid = w_on && !(misbehave == 3 && w_waited);
  wire [ADDR+15:0] ar = ar_list[ar_at[9:0]];
  wire [ADDR+15:0] aw = aw_list[aw_at[9:0]];
  wire [DATA+DATA/8:0] w = w_list[w_at[9:0]];
  assign {m_axi__arsize, m_axi__arburst, m_axi__arid, m_axi__arlen} = ar[15:0];
  assign m_axi__araddr = ar[ADDR+15:16] ^ {{(ADDR-6){1'b0}}, misbehave == 2 && ar_waited, 5'b0};
  assign {m_axi__awsize, m_axi__awburst, m_axi__awid, m_axi__awlen} = aw[15:0];
  assign m_axi__awaddr = aw[ADDR+15:16];
  assign {m_axi__wlast, m_axi__wstrb} = w[DATA+DATA/8:DATA];
  assign m_axi__wdata = w[DATA-1:0] ^ {{(DATA-1){1'b0}}, misbehave == 4 && w_waited};
  assign m_axi__rready = ready[now[3:0]];
  assign m_axi__bready = ready[{1'b1, now[3:0]}];
  assign {m_axi__arlock, m_axi__arcache, m_axi__arprot, m_axi__arqos} = 0;
  assign {m_axi__awlock, m_axi__awcache, m_axi__awprot, m_axi__awqos} = 0;

  always @(posedge clk) begin
    ar_waited <= m_axi__arvalid && !m_axi__arready;
    aw_waited <= m_axi__awvalid && !m_axi__awready;
    w_waited <= m_axi__wvalid && !m_axi__wready;
    if (m_axi__arvalid && m_axi__arready) begin
      ar_time[ar_at[9:0]] <= now;
      ar_at <= ar_at + 1;
    end
    if (m_axi__awvalid && m_axi__awready) begin
      aw_time[aw_at[9:0]] <= now;
      aw_at <= aw_at + 1;
    end
    if (m_axi__wvalid && m_axi__wready) begin
      w_time[w_at[9:0]] <= now;
      w_at <= w_at + 1;
    end
    if (m_axi__rvalid && m_axi__rready) begin
      r_time[r_at[9:0]] <= now;
      r_low[r_at[9:0]] <= m_axi__rdata[31:0];
      r_top[r_at[9:0]] <= m_axi__rdata[DATA-1:DATA-32];
      r_info[r_at[9:0]] <= {26'b0, m_axi__rlast, m_axi__rresp, m_axi__rid};
      r_at <= r_at + 1;
    end
    if (m_axi__bvalid && m_axi__bready) begin
      b_time[b_at[9:0]] <= now;
      b_info[b_at[9:0]] <= {27'b0, m_axi__bresp, m_axi__bid};
      b_at <= b_at + 1;
    end
    if (rst) begin
      ar_waited <= 0; aw_waited <= 0; w_waited <= 0;
      ar_at <= 0; aw_at <= 0; w_at <= 0; r_at <= 0; b_at <= 0;
    end
  end

  // The memory's own rules: what it offers must stay until it is taken.
  reg [3:0] broken;
  reg r_held, b_held;
  reg [DATA+5:0] r_was;
  reg [4:0] b_was;
  wire [DATA+5:0] r_is = {m_axi__rdata, m_axi__rlast, m_axi__rresp, m_axi__rid};
  wire [4:0] b_is = {m_axi__bresp, m_axi__bid};
  always @(posedge clk) begin
    r_held <= m_axi__rvalid && !m_axi__rready;
    b_held <= m_axi__bvalid && !m_axi__bready;
    r_was <= r_is;
    b_was <= b_is;
    if (r_held) broken[1:0] <= broken[1:0] | {r_is != r_was, !m_axi__rvalid};
    if (b_held) broken[3:2] <= broken[3:2] | {b_is != b_was, !m_axi__bvalid};
    if (rst) begin
      broken <= 0; r_held <= 0; b_held <= 0;
    end
  end

  // The registers.
  wire writes = s_axi__awvalid && s_axi__wvalid && !s_axi__bvalid;
  assign s_axi__awready = writes;
  assign s_axi__wready = writes;
  assign s_axi__bresp = 0;
  assign s_axi__arready = !s_axi__rvalid;
  assign s_axi__rresp = s_axi__araddr == 12'hffc ? 2'b10 : 2'b00;
  always @(posedge clk) begin
    now <= now + 1;
    since_go <= go == 0 ? 0 : since_go + 1;
    if (s_axi__bready) s_axi__bvalid <= 0;
    if (s_axi__rready) s_axi__rvalid <= 0;
    if (writes && s_axi__awaddr != 12'hff8) begin
      s_axi__bvalid <= 1;
      case (s_axi__awaddr)
        12'h000: go <= s_axi__wdata[2:0];
        12'h004: ready <= s_axi__wdata;
        12'h008: misbehave <= s_axi__wdata[2:0];
        12'h00c: delays <= s_axi__wdata;
        12'h010: addr[31:0] <= s_axi__wdata;
        12'h014: begin
          ar_list[ar_end[9:0]] <= {addr[ADDR-1:0], s_axi__wdata[15:0]};
          ar_end <= ar_end + 1;
        end
        12'h018: begin
          aw_list[aw_end[9:0]] <= {addr[ADDR-1:0], s_axi__wdata[15:0]};
          aw_end <= aw_end + 1;
        end
        12'h01c: addr[39:32] <= s_axi__wdata[7:0];
        12'h040: strobes <= s_axi__wdata;
        12'h044: begin
          w_list[w_end[9:0]] <= {s_axi__wdata[0], strobes[DATA/8-1:0], data[DATA-1:0]};
          w_end <= w_end + 1;
        end
        12'h050: index <= s_axi__wdata[9:0];
        12'h0a0: alarm <= s_axi__wdata;
        default: if (s_axi__awaddr[11:5] == 1) data[s_axi__awaddr[4:2] * 32 +: 32] <= s_axi__wdata;
      endcase
    end
    if (s_axi__arvalid && s_axi__arready) begin
      s_axi__rvalid <= 1;
      case (s_axi__araddr)
        12'h060: s_axi__rdata <= ar_time[index];
        12'h064: s_axi__rdata <= r_time[index];
        12'h068: s_axi__rdata <= r_info[index];
        12'h06c: s_axi__rdata <= r_low[index];
        12'h070: s_axi__rdata <= r_top[index];
        12'h074: s_axi__rdata <= aw_time[index];
        12'h078: s_axi__rdata <= w_time[index];
        12'h07c: s_axi__rdata <= b_time[index];
        12'h080: s_axi__rdata <= b_info[index];
        12'h090: s_axi__rdata <= {b_at[9:0], w_at, aw_at};
        12'h094: s_axi__rdata <= {10'b0, r_at, ar_at};
        12'h098: s_axi__rdata <= {28'b0, broken};
        12'h09c: s_axi__rdata <= now;
        default: s_axi__rdata <= 0;
      endcase
    end
    if (rst) begin
      now <= 0; go <= 0; ready <= 32'hffffffff; misbehave <= 0; delays <= 0; since_go <= 0;
      alarm <= 0; addr <= 0; data <= 0; strobes <= 0; index <= 0;
      ar_end <= 0; aw_end <= 0; w_end <= 0; s_axi__bvalid <= 0; s_axi__rvalid <= 0;
    end
  end
endmodule
