import subprocess
import sys

WATCHES = """
import sys, time
from loupe.vllm import worker
worker.SECONDS = 0.01
worker.EndsWithRun().end_with(int(sys.argv[1]))
print("watching", flush=True)
time.sleep(60)
"""


def test_it_ends_with_the_run():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as run:
        watching = subprocess.Popen([sys.executable, "-c", WATCHES, str(run.pid)], stdout=subprocess.PIPE, text=True)
        with watching:
            assert watching.stdout.readline() == "watching\n"
            assert watching.poll() is None
            run.kill()  # and not waited for
            assert watching.wait(timeout=20) == 1
