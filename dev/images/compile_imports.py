"""Compile every module that a program imports, for the root directory that it will have later.

usage: python3 -S -c SCRIPT ROOT PROGRAM
"""

import importlib.util
import py_compile
import sys

sys.dont_write_bytecode = True
root, program = sys.argv[1:]
spec = importlib.util.spec_from_file_location("program", root + program)
spec.loader.exec_module(importlib.util.module_from_spec(spec))

for name in sorted(sys.modules):
    file = getattr(sys.modules[name], "__file__", None) or ""
    if file.startswith(root) and file.endswith(".py"):
        # Unchecked: the image never changes, so there is nothing to compare at start. dfile: no trace of this machine.
        py_compile.compile(
            file,
            dfile=file[len(root):],
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
