"""The environment of a server: what it needs, and nothing else of this process's.

Whatever else a shell holds (passwords, tokens, proxies) is no business of a process that takes
photographs from others and whose log is passed on.
"""

import os
from collections.abc import Mapping

from vera.launch.program import Program

# Names, not families of names: NVIDIA_API_KEY is a secret.
PASSED = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "HOME", "TMPDIR", "XDG_CACHE_HOME"),
        *("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED"),
        # Which GPU, and what is kept of compiled kernels; containers name theirs by NVIDIA_...
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_MODULE_LOADING"),
        *("CUDA_CACHE_PATH", "CUDA_CACHE_DISABLE", "CUDA_CACHE_MAXSIZE"),
        *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE"),
        # Threads, and where they and the heap lie.
        *("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY"),
        "OPENBLAS_NUM_THREADS",
        *("GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME"),
        *("MALLOC_ARENA_MAX", "MALLOC_CONF", "TCMALLOC_RELEASE_RATE", "GLIBC_TUNABLES"),
        # Sites that allow certified cryptography only.
        *("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_FORCE_FIPS_MODE"),
    }
)


def server_environment(
    program: Program, given: Mapping[str, str] | None = None
) -> Mapping[str, str]:
    """What a server on this machine is started with.

    Args:
        program: The server. The programs of its interpreter come first on the path: the models
            run by that ``python3``. A container engine keeps all: it hands none of it on, and
            finds its service by variables of its own.
        given: The environment it is taken from; None takes this process's.
    """
    given = os.environ if given is None else given
    if program.kind == "container":
        return dict(given)
    found = {name: value for name, value in given.items() if name in PASSED}
    # NumPy's own are not needed: those of NumPy 1.26 wait by yielding, 7 % of two busy cores.
    found.setdefault("OPENBLAS_NUM_THREADS", "1")
    if program.interpreter is None:
        return found
    found["PATH"] = os.pathsep.join((program.interpreter.bin, given.get("PATH", "")))
    if program.kind == "bundled":  # its Python part finds libpython by this alone
        libraries = (program.interpreter.libraries, given.get("LD_LIBRARY_PATH", ""))
        found["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    return found
