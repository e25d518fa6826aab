"""Python as on a lesser CPU: python tests/as_cpu.py avx2 -m pytest tests/test_native.py

All that chooses its code by the CPU is told what it may use, in this process and in those it
starts: oneDNN in MXNet, OpenBLAS in all three, NumPy, and the kernels.
"""
import os
import sys

from numpy.core._multiarray_umath import __cpu_dispatch__, __cpu_features__

# For oneDNN, OpenBLAS and the kernels, and how the names of what NumPy must leave alone begin.
CPUS = {'avx2': ('AVX2', 'Haswell', 'avx2', ('AVX512',)),
        'baseline': ('SSE41', 'Nehalem', 'baseline', ('AVX', 'FMA', 'F16C'))}


def environment(cpu):
    onednn, openblas, kernels, numpy = CPUS[cpu]
    hidden = [name for name in __cpu_dispatch__  # NumPy warns of those that the CPU lacks
              if name.startswith(numpy) and __cpu_features__[name]]
    return {'DNNL_MAX_CPU_ISA': onednn, 'OPENBLAS_CORETYPE': openblas,
            'SOFT_DICE_MAX_ISA': kernels, 'NPY_DISABLE_CPU_FEATURES': ' '.join(hidden)}


if __name__ == '__main__':
    if len(sys.argv) < 3 or sys.argv[1] not in CPUS:
        sys.exit(f'as_cpu.py takes a CPU, one of {", ".join(CPUS)}, and arguments for Python')
    os.execve(sys.executable, [sys.executable, *sys.argv[2:]],
              {**os.environ, **environment(sys.argv[1])})
