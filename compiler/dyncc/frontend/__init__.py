"""From Python source to HCFG by partial evaluation; `capture` is the entry point."""
