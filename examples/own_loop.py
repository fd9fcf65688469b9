"""Your own PyTorch loop: an analog network on a noisy simulated chip, trained by Tiki-Taka v2.

    python examples/own_loop.py

The chip, its layers and the optimizer are ours; the loop is ordinary PyTorch.
"""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from rpudriver.algorithms.ttv2 import TTv2
from rpudriver.backends.registry import make
from rpudriver.nn import AnalogLinear, AnalogOptimizer

EPOCHS, BATCH, TRAIN = 3, 8, 1437


def load() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images, dtype=torch.float32)[order] / 16, torch.tensor(labels)[order]


def main() -> float:
    torch.set_num_threads(1)  # arrays this small leave a second thread nothing but waiting
    x, y = load()
    with make("simulated", preset="asymmetric-100", seed=1) as chip:
        chip.arm()  # a chip never takes pulses unasked
        algorithm = TTv2(fast_lr=0.1, transfer_lr=2.0)
        model = torch.nn.Sequential(
            AnalogLinear(64, 32, chip, algorithm, name="fc1", seed=1),
            torch.nn.Tanh(),
            AnalogLinear(32, 10, chip, algorithm, name="fc2", seed=1),
        )
        optimizer = AnalogOptimizer(model, lr=0.1)  # pulses for analog layers, SGD for the rest
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
        for epoch in range(EPOCHS):
            order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(epoch))
            for batch in order.split(BATCH):
                optimizer.zero_grad()
                loss = cross_entropy(model(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
            scheduler.step()
            with torch.no_grad():
                accuracy = float((model(x[TRAIN:]).argmax(1) == y[TRAIN:]).float().mean())
            print(f"epoch {epoch + 1}: test accuracy {accuracy:.3f}")
        print("pulses seen by devices:", chip.status().cost["coincidences"])
    return accuracy


if __name__ == "__main__":
    main()
