# No pins: everything goes by way of the processor.
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
