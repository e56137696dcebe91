# An Alveo U280: the host starts programs and reaches memory over PCI Express (XDMA), and the
# overlay has one channel of the HBM, which others may have too.

create_project -force skipopu vivado -part $PART
set_property board_part [lindex [get_board_parts -latest_file_version {*au280*}] end] \
  [current_project]
add_files {top.v overlay.v}
add_files -fileset constrs_1 top.xdc
create_bd_design system

# PCI Express: a DMA to memory, and a master for registers.
create_bd_cell -type ip -vlnv xilinx.com:ip:xdma pcie
set_property -dict [list \
  CONFIG.mode_selection Advanced CONFIG.PCIE_BOARD_INTERFACE pci_express_x16 \
  CONFIG.SYS_RST_N_BOARD_INTERFACE pcie_perstn \
  CONFIG.pl_link_cap_max_link_width X8 CONFIG.pl_link_cap_max_link_speed 8.0_GT/s \
  CONFIG.axi_data_width 256_bit CONFIG.axilite_master_en true CONFIG.axilite_master_size 1 \
  CONFIG.xdma_rnum_chnl 1 CONFIG.xdma_wnum_chnl 1 \
] [get_bd_cells pcie]
create_bd_cell -type ip -vlnv xilinx.com:ip:util_ds_buf reference
set_property -dict [list CONFIG.C_BUF_TYPE IBUFDSGTE CONFIG.DIFF_CLK_IN_BOARD_INTERFACE pcie_refclk] \
  [get_bd_cells reference]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pci_express_x16} \
  [get_bd_intf_pins pcie/pcie_mgt]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pcie_refclk} \
  [get_bd_intf_pins reference/CLK_IN_D]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface pcie_perstn} \
  [get_bd_pins pcie/sys_rst_n]
connect_bd_net [get_bd_pins reference/IBUF_OUT] [get_bd_pins pcie/sys_clk_gt]
connect_bd_net [get_bd_pins reference/IBUF_DS_ODIV2] [get_bd_pins pcie/sys_clk]

# The HBM: one stack; its reference of 100 MHz and the clock of its ports come from sysclk0.
create_bd_cell -type ip -vlnv xilinx.com:ip:clk_wiz clocks
set_property -dict [list \
  CONFIG.CLK_IN1_BOARD_INTERFACE sysclk0 CONFIG.USE_RESET false \
  CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $CLOCK_MHZ \
  CONFIG.CLKOUT2_USED true CONFIG.CLKOUT2_REQUESTED_OUT_FREQ 450 \
  CONFIG.CLKOUT3_USED true CONFIG.CLKOUT3_REQUESTED_OUT_FREQ 100 \
] [get_bd_cells clocks]
apply_bd_automation -rule xilinx.com:bd_rule:board -config {Board_Interface sysclk0} \
  [get_bd_intf_pins clocks/CLK_IN1_D]
create_bd_cell -type ip -vlnv xilinx.com:ip:hbm hbm
set ports {}
for {set i 1} {$i < 16} {incr i} {
  lappend ports CONFIG.USER_SAXI_[format %02d $i] false
}
set_property -dict [list CONFIG.USER_HBM_DENSITY 4GB CONFIG.USER_APB_EN false {*}$ports] \
  [get_bd_cells hbm]
connect_bd_net [get_bd_pins clocks/clk_out3] [get_bd_pins hbm/HBM_REF_CLK_0] \
  [get_bd_pins hbm/APB_0_PCLK]

create_bd_cell -type module -reference overlay overlay
foreach {name clock} {reset clk_out1 reset_hbm clk_out2 reset_apb clk_out3} {
  create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset $name
  connect_bd_net [get_bd_pins clocks/$clock] [get_bd_pins $name/slowest_sync_clk]
  connect_bd_net [get_bd_pins pcie/axi_aresetn] [get_bd_pins $name/ext_reset_in]
  connect_bd_net [get_bd_pins clocks/locked] [get_bd_pins $name/dcm_locked]
}
connect_bd_net [get_bd_pins reset_apb/peripheral_aresetn] [get_bd_pins hbm/APB_0_PRESET_N]

create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect control
set_property -dict {CONFIG.NUM_SI 1 CONFIG.NUM_CLKS 2} [get_bd_cells control]
create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect memory
set_property -dict {CONFIG.NUM_SI 2 CONFIG.NUM_CLKS 3} [get_bd_cells memory]
connect_bd_net [get_bd_pins pcie/axi_aclk] [get_bd_pins control/aclk] [get_bd_pins memory/aclk]
connect_bd_net [get_bd_pins pcie/axi_aresetn] [get_bd_pins control/aresetn] \
  [get_bd_pins memory/aresetn]
connect_bd_net [get_bd_pins clocks/clk_out1] [get_bd_pins overlay/aclk] \
  [get_bd_pins control/aclk1] [get_bd_pins memory/aclk1]
connect_bd_net [get_bd_pins clocks/clk_out2] [get_bd_pins memory/aclk2] \
  [get_bd_pins hbm/AXI_00_ACLK]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins overlay/aresetn]
connect_bd_net [get_bd_pins reset_hbm/peripheral_aresetn] [get_bd_pins hbm/AXI_00_ARESET_N]

connect_bd_intf_net [get_bd_intf_pins pcie/M_AXI_LITE] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins overlay/s_axi]
connect_bd_intf_net [get_bd_intf_pins overlay/m_axi] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins pcie/M_AXI] [get_bd_intf_pins memory/S01_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins hbm/SAXI_00]

# The card's controller switches power off if this pin is left open.
create_bd_port -dir O -from 0 -to 0 hbm_cattrip
create_bd_cell -type ip -vlnv xilinx.com:ip:xlconstant low
set_property CONFIG.CONST_VAL 0 [get_bd_cells low]
connect_bd_net [get_bd_pins low/dout] [get_bd_ports hbm_cattrip]
