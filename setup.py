"""Build of the compiled part: every `minicnn/kernels/*.pyx` becomes one extension, and the
engine another, whose C kernels are compiled once for each instruction set.

Environment variables, all meant for people who work on minicnn itself:

    MINICNN_OPENMP=0    build the kernels without OpenMP (they are correct and single-threaded;
                        the engine has threads of its own)
    MINICNN_DEBUG=1     bounds, wraparound and initialisation checks on, -O1 -g
    MINICNN_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer (implies -O1 -g1);
                        an instruction set instead of 1: of the engine's kernels those for it only
    MINICNN_PLAIN_512=1 the engine's AVX-512 kernels without any such instruction, so that a machine
                        with AVX2 only can test them
"""

import os
import platform
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError
from setuptools.modified import newer_group

HERE = Path(__file__).parent
DEBUG = os.environ.get("MINICNN_DEBUG") == "1"
SANITIZE = os.environ.get("MINICNN_SANITIZE", "").strip("0")
PLAIN_512 = os.environ.get("MINICNN_PLAIN_512") == "1"

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": True,
    "freethreading_compatible": True,
}

# No -march=native: a wheel must run on every machine of its architecture. No -ffast-math: it
# would let the compiler reorder sums, and the same source must mean the same bits. -g0 because
# Python's own flags ask for debug symbols, which are two thirds of an extension's size.
RELEASE = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math"]
OPTIMISE = ["-O1", "-g1"] if SANITIZE else ["-O1", "-g"] if DEBUG else RELEASE
SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if SANITIZE else []


# The engine is written with vector types of GCC and Clang, so products and sums may be fused
# where an instruction for it exists; what may be added to what is fixed by the source.
ENGINE = "minicnn.engine.plan"
CSRC = "minicnn/engine/csrc"
ENGINE_FLAGS = ["-std=gnu11", "-ffp-contract=fast", "-Wno-psabi"]
ENGINE_FLAGS += ["-DMINICNN_ROLLED"] if DEBUG or SANITIZE else []
ISA_FLAGS = {
    "generic": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx2", "-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
        "-mprefer-vector-width=512",
    ],
}  # fmt: skip

if PLAIN_512:
    ISA_FLAGS["avx512"] = [*ISA_FLAGS["avx2"], "-DMINICNN_PLAIN_512"]

if SANITIZE not in ("", "1", *ISA_FLAGS):
    raise SystemExit(
        f"MINICNN_SANITIZE is {SANITIZE!r}; expected 0, 1, or one of {', '.join(ISA_FLAGS)}"
    )


class BuildKernels(build_ext):
    """Adds the optimisation flags, and OpenMP when the compiler can build and link with it."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or True  # extensions side by side, one for each processor

    def build_extensions(self):
        unix = self.compiler.compiler_type == "unix"
        compile_args = [*OPTIMISE, *SANITIZERS] if unix else ["/O2"]
        link_args = list(SANITIZERS)
        if openmp := self.openmp_flag(unix):
            compile_args.append(openmp)
            link_args += [openmp] if unix else []
        for extension in self.extensions:
            extension.extra_compile_args += compile_args
            extension.extra_link_args += link_args
            if extension.name == ENGINE:
                extension.extra_link_args += ["-pthread"] if unix else []
        super().build_extensions()

    def build_extension(self, extension):
        if extension.name == ENGINE:
            extension.extra_objects = self.engine_objects()
        super().build_extension(extension)

    def engine_objects(self) -> list[str]:
        """csrc/all.c compiled for each instruction set, every time with other flags.

        Objects of an earlier build are kept if they are newer than every source and this file:
        they take minutes, and `pip install` is often run again for another extra.
        """
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        isas = ISA_FLAGS if x86 else {"generic": []}
        variant = f"sanitize-{SANITIZE}-" if SANITIZE else "debug-" if DEBUG else ""
        variant = f"plain-{variant}" if PLAIN_512 else variant
        sources = [str(path) for path in (HERE / "setup.py", *HERE.glob(f"{CSRC}/*.[ch]"))]

        def compiled(isa: str) -> list[str]:
            folder = str(Path(self.build_temp, variant + isa))
            objects = self.compiler.object_filenames([f"{CSRC}/all.c"], output_dir=folder)
            if self.force or newer_group(sources, objects[0]):
                sanitizers = SANITIZERS if SANITIZE in ("1", isa) else []
                flags = [*OPTIMISE, *sanitizers, *ENGINE_FLAGS, *isas[isa]]
                Path(objects[0]).parent.mkdir(parents=True, exist_ok=True)
                # What a killed compiler leaves behind is not to be taken for an object.
                with tempfile.TemporaryDirectory(dir=folder) as fresh:
                    (built,) = self.compiler.compile(
                        [f"{CSRC}/all.c"], output_dir=fresh, extra_postargs=flags
                    )
                    os.replace(built, objects[0])
            return objects

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # The last one takes the longest, so it comes first.
            return [name for names in pool.map(compiled, reversed(isas)) for name in names]

    def openmp_flag(self, unix: bool) -> str | None:
        """The compiler's OpenMP switch, or None where a program that uses it does not link."""
        if os.environ.get("MINICNN_OPENMP") == "0":
            return None
        flag = "-fopenmp" if unix else "/openmp"
        program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=[flag]
                )
                self.compiler.link_executable(
                    objects, "probe", output_dir=folder, extra_postargs=[flag] if unix else []
                )
            except (CompileError, LinkError):
                return None
        return flag


def kernel_extensions() -> list[Extension]:
    sources = sorted(HERE.glob("minicnn/kernels/*.pyx"))
    return [
        Extension(f"minicnn.kernels.{path.stem}", [path.relative_to(HERE).as_posix()])
        for path in sources
    ]


def engine_extension() -> Extension:
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    plain = [("MINICNN_PLAIN_512", "1")] if PLAIN_512 else []
    return Extension(
        ENGINE,
        ["minicnn/engine/plan.pyx", *(f"{CSRC}/{c}.c" for c in ("run", "team"))],
        include_dirs=["minicnn/engine"],
        define_macros=[*([("MINICNN_X86", "1")] if x86 else []), *plain],
        depends=[
            "minicnn/engine/sizes.pxi",
            *sorted(str(p.relative_to(HERE)) for p in HERE.glob(f"{CSRC}/*.[ch]")),
        ],
    )


def other_extensions() -> list[Extension]:
    """Python that must be quick, or that no signal may interrupt."""
    sources = [*HERE.glob("minicnn/layers/*.pyx"), *HERE.glob("minicnn/lowering/*.pyx")]
    return [
        Extension(
            f"minicnn.{path.parent.name}.{path.stem}",
            [path.relative_to(HERE).as_posix()],
            include_dirs=["minicnn/engine", numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            depends=["minicnn/engine/csrc/engine.h"],
        )
        for path in sorted(sources)
    ]


setup(
    ext_modules=cythonize(
        # The engine takes the longest, so it comes first.
        [engine_extension(), *kernel_extensions(), *other_extensions()],
        compiler_directives=DIRECTIVES,
    ),
    cmdclass={"build_ext": BuildKernels},
)
