#!/usr/bin/env bash
# Runs the kernel tests on a build with AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   scripts/sanitize.sh [pytest arguments]      default: tests/kernels tests/engine
#
# The engine's kernels are those for MINICNN_ISA, or else for the best instruction set of this
# machine; it would take minutes to instrument the others, which no test would run. With
# MINICNN_ISA=avx512 they also run where there is AVX2 only: with plain C instead of the instructions
# that they name (plain512.h). The build goes to a temporary folder and leaves the working tree alone.
# Needs GCC with libasan and libubsan, and pytest-xdist, Cython and setuptools as pyproject.toml has
# them. PYTHON names the interpreter, CC the compiler.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
export CC=${CC:-gcc}
tests=("$@")
[ $# -gt 0 ] || tests=(tests/kernels tests/engine)
work=$(mktemp -d "${TMPDIR:-/tmp}/minicnn-sanitize.XXXXXX")
trap 'rm -rf "$work"' EXIT

# 1. The sources only, so that nothing built without the sanitizers is reused.
tar -C "$root" --exclude='*.so' --exclude='minicnn/kernels/*.c' --exclude='plan.c' --exclude='__pycache__' -cf - \
    setup.py pyproject.toml README.md LICENSE minicnn tests | tar -xf - -C "$work"
cd "$work"

# 2. The build, and the proof that it is instrumented.
has() { grep -qw "$1" /proc/cpuinfo; }
isa=generic
if has avx2; then isa=avx2; fi
if has avx512vl; then isa=avx512; fi
export MINICNN_ISA=${MINICNN_ISA:-$isa}
export MINICNN_SANITIZE=$MINICNN_ISA
if [ "$MINICNN_ISA" = avx512 ] && ! has avx512vl; then export MINICNN_PLAIN_512=1; fi
"$python" setup.py -q build_ext --inplace -j 2
for kernel in minicnn/kernels/*.so minicnn/engine/*.so build/temp*/*-"$MINICNN_ISA"/minicnn/engine/csrc/all.o; do
    [[ $(nm "$kernel") == *__asan_report* ]] || {
        echo "$kernel was built without AddressSanitizer" >&2
        exit 1
    }
done

# 3. The tests. The runtime libraries must come first in a process that is not instrumented
#    itself; PYTHONMALLOC puts small objects where the sanitizer sees them. Leaks are not looked
#    for, because the interpreter frees little at its end. The report goes straight to stderr,
#    so pytest must not capture that: the process ends with the first error.
LD_PRELOAD="$("$CC" -print-file-name=libasan.so) $("$CC" -print-file-name=libubsan.so)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    PYTHONMALLOC=malloc \
    "$python" -m pytest -qx -n auto --max-worker-restart=0 --capture=sys -p no:cacheprovider "${tests[@]}"
