
assign_bd_address
validate_bd_design
save_bd_design
set wrapper [make_wrapper -files [get_files system.bd] -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1

launch_runs impl_1 -to_step write_bitstream
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] != "100%"} {
  error "placement and routing failed: [get_property STATUS [get_runs impl_1]]"
}
open_run impl_1
report_timing_summary -file timing.rpt
report_utilization -hierarchical -file utilization.rpt
write_hw_platform -fixed -include_bit -force -file top.xsa
file copy -force [get_property DIRECTORY [get_runs impl_1]]/system_wrapper.bit top.bit
if {[get_property SLACK [get_timing_paths]] < 0} {
  error "the clock is not reached, see timing.rpt"
}
