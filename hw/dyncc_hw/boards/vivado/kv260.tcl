# A Zynq UltraScale+: the processor starts programs over its first master port (M_AXI_HPM0_FPD), and
# the overlay reads and writes the DDR memory by way of a slave port (S_AXI_HP0_FPD). The part of
# memory that it may have is set aside for it in the device tree.

create_project -force skipopu vivado -part $PART
set_property board_part [lindex [get_board_parts -latest_file_version {*kv260_som*}] end] \
  [current_project]
add_files {top.v overlay.v}
add_files -fileset constrs_1 top.xdc
create_bd_design system

create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
  -config {apply_board_preset 1} [get_bd_cells ps]
set_property -dict [list \
  CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 \
  CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
  CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH 128 \
  CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $CLOCK_MHZ \
] [get_bd_cells ps]

create_bd_cell -type module -reference overlay overlay
create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
foreach name {control memory} {
  create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name
  set_property CONFIG.NUM_SI 1 [get_bd_cells $name]
}

connect_bd_net [get_bd_pins ps/pl_clk0] [get_bd_pins overlay/aclk] \
  [get_bd_pins control/aclk] [get_bd_pins memory/aclk] [get_bd_pins reset/slowest_sync_clk] \
  [get_bd_pins ps/maxihpm0_fpd_aclk] [get_bd_pins ps/saxihp0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins overlay/aresetn] \
  [get_bd_pins control/aresetn] [get_bd_pins memory/aresetn]

connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins overlay/s_axi]
connect_bd_intf_net [get_bd_intf_pins overlay/m_axi] [get_bd_intf_pins memory/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0_FPD]
