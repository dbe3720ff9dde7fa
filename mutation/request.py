"""The test command of a session: asks the test server for a run, prints `timeout` if it was one, and exits like pytest.

It imports little, because it runs once per mutant.
"""

import socket
import sys

TIMEOUT = 124

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    code = (server.recv(1) or b"\3")[0]
if code == TIMEOUT:
    sys.stdout.write("timeout")
sys.exit(code)
