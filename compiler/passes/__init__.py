"""The compiler's passes, one in each file; `vta.compiler.pipeline` lists them in order."""
