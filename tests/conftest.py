"""What every test starts from."""

import signal

# A shell that starts a job in the background makes it ignore Ctrl-C, and what it starts ignores it too.
# The tests of interruption must not depend on who started them.
signal.signal(signal.SIGINT, signal.default_int_handler)
