"""Settings that every test shares."""

import os
import tempfile

import torch

_state = tempfile.TemporaryDirectory(prefix="rpudriver-tests-")  # no test locks or counts in the user's own folder
os.environ["RPUDRIVER_STATE"] = _state.name

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before anything imports Triton, which settles then how its kernels run
torch.set_num_threads(1)  # the arrays of the tests are small: threads would only wait for each other
