"""The back end for the SkipOPU overlay: decoders to programs and a memory image."""
