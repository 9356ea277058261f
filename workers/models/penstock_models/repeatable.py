"""The environment in which equal recipes give equal bytes; variables count only before libraries load.

A fixed hash seed and one thread make orders and sums the same on each run. The linear algebra and numpy's
own loops choose their code by the processor's features, and each choice rounds differently: both are held to
what every x86-64-v3 machine has. (Without that, trained models differ between machines in their last bits;
models that are only written down, such as MiniLM, do not.)
"""

from __future__ import annotations

import os
import platform
import sys

_EVERYWHERE = {
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_ON_X86_64 = {
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}


def restart_repeatably() -> None:
    """Starts this program anew, once, if the environment is not the one above."""
    wanted = {**_EVERYWHERE, **(_ON_X86_64 if platform.machine() == "x86_64" else {})}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
