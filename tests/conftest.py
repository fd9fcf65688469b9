"""Settings that every test shares."""

import torch

torch.set_num_threads(1)  # the arrays of the tests are small: threads would only wait for each other
