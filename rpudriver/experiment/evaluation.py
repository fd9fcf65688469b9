"""Loss and accuracy of a network on a test set."""

import torch
from torch.nn.functional import cross_entropy

from rpudriver.experiment.data import batches

TEST_BATCH = 500  # bounds memory; results do not depend on it, since reads are numbered one by one


def evaluate(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Return mean cross-entropy (nats) and accuracy, read from the chip with all its noise where there is one."""
    model.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for chosen in batches(len(y), TEST_BATCH):
            logits = model(x[chosen])
            loss += cross_entropy(logits, y[chosen], reduction="sum").item()
            correct += int((logits.argmax(1) == y[chosen]).sum())
    return loss / len(y), correct / len(y)
