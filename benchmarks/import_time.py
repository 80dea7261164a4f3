"""What `import minicnn` costs beyond `import numpy`: medians over fresh interpreters.

python benchmarks/import_time.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys

PROGRAM = """
import time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import minicnn
print((middle - start) * 1e3, (time.perf_counter() - middle) * 1e3)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    runs = [
        [
            float(part)
            for part in subprocess.check_output([sys.executable, "-P", "-c", PROGRAM]).split()
        ]
        for _ in range(rounds + 1)
    ][1:]  # the first run warms the disk cache
    numpy_ms, minicnn_ms = (statistics.median(column) for column in zip(*runs, strict=True))
    print(f"import numpy   {numpy_ms:6.1f} ms")
    print(f"import minicnn {minicnn_ms:6.1f} ms more")


if __name__ == "__main__":
    main()
