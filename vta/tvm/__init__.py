"""A thin layer with TVM's names, for scripts that were written for TVM's VTA back end.

The layer is active only while `layer()` or `run_script` runs.
"""

from vta.tvm.layer import layer
from vta.tvm.missing import MissingAttribute, MissingModule
from vta.tvm.script import run_script

__all__ = ["MissingAttribute", "MissingModule", "layer", "run_script"]
