"""Back ends compile the regions of a program; only this folder and the runtime use TVM."""
