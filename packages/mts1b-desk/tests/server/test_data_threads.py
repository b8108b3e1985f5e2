"""What reading a text file leaves in its process."""

import subprocess
import sys
from pathlib import Path

_READ = """
import os, sys
from pathlib import Path
from mts1b_desk.data.replay import Replay
from mts1b_desk.settings import ReplaySettings

threads = len(os.listdir("/proc/self/task"))
Replay(ReplaySettings(path=Path(sys.argv[1]))).check()
print(len(os.listdir("/proc/self/task")) - threads)
"""


def test_no_thread_reads_a_text_file_that_could_abort_the_process_at_its_end(tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_text("time,bid,ask\n2021-01-04T00:00:00Z,1,2\n")
    done = subprocess.run([sys.executable, "-c", _READ, path], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
