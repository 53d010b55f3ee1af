"""The compiler's passes, one a file; `vta.compiler.pipeline` lists them in order."""
