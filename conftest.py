"""For all tests: children answer to Ctrl-C although the tests themselves run in the background, where it is ignored."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
