"""The native core; everything else is in pyproject.toml. Without a compiler the package is built without it."""

import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("sancodec", "native")
# Free-threaded builds of Python have no stable ABI; there, the core is built for the one at hand.
IS_STABLE = not sysconfig.get_config_var("Py_GIL_DISABLED")
# Products and sums must be rounded one by one, as NumPy does it.
FLAGS = ["/O2", "/fp:precise"] if sys.platform == "win32" else ["-std=c99", "-O3", "-g0", "-ffp-contract=off"]

core = Extension(
    "sancodec._core",
    sources=sorted(path.as_posix() for path in FOLDER.glob("*.c")),
    depends=sorted(path.as_posix() for path in FOLDER.glob("*.h")),
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if IS_STABLE else [],
    py_limited_api=IS_STABLE,
    extra_compile_args=FLAGS,
    optional=True,
)
setup(ext_modules=[core], options={"bdist_wheel": {"py_limited_api": "cp311"}} if IS_STABLE else {})
