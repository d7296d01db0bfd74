import subprocess
import sys


def test_command_line_starts_without_what_holds_readings_and_reads_recordings():
    late = {"can", "cantools", "kernels", "numpy", "pandas", "pyarrow"}
    program = f"import sys, api.cli.main; print({late} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr
