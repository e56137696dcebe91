"""HCFG: dataclasses (`hcfg`), types, host operations, printer, parser and verifier."""
