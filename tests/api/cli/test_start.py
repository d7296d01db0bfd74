import subprocess
import sys


def test_command_line_starts_without_pandas_and_python_can():
    program = "import sys, api.cli.main; print({'pandas', 'can', 'cantools'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr
