"""How XLA compiles in tests: networks are tiny, so that compiling takes longer than running."""

import importlib.metadata

_RELEASE = tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2]))
QUICK = "--xla_backend_optimization_level=0"
if _RELEASE < (0, 11):  # compiles in half the time; later releases end where they find a flag that they do not know
    QUICK += " --xla_cpu_use_fusion_emitters=false"
