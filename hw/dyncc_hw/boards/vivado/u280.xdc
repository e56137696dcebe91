# Pins of clocks and PCI Express come from the board's files.
set_property -dict {PACKAGE_PIN D32 IOSTANDARD LVCMOS18} [get_ports {hbm_cattrip[0]}]
set_property PULLDOWN TRUE [get_ports {hbm_cattrip[0]}]
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
