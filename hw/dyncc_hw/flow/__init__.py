"""From a design to a bitstream and figures: plan, tools, cache, records."""
