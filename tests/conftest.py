"""What every test stands on."""

import signal

# A shell starts its background jobs deaf to Ctrl-C, and programs hand that down: the tests of Ctrl-C need ears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
