"""TVM's names, for scripts that were written for TVM's VTA back end: a thin layer over ours.

Nothing here is active until `layer()` or `run_script` says so, and then only as long as that lasts.
"""

from vta.tvm.layer import layer
from vta.tvm.missing import MissingAttribute, MissingModule
from vta.tvm.script import run_script

__all__ = ["MissingAttribute", "MissingModule", "layer", "run_script"]
