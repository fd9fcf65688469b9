"""Rows of real training: epochs of MNIST as in Wu et al. 2025, and updates recorded in them and replayed."""

import sys
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch

from benchmarks import contests, peer
from benchmarks.our_network import BATCH, FAST_LR, LAYERS, MAX_BL, OurNetwork
from benchmarks.peer_network import PeerNetwork
from benchmarks.rows import Case, Contest, Options, UnavailableError
from rpudriver.errors import DataError
from rpudriver.experiment.config import DataSection
from rpudriver.experiment.data import Data, batches, load_data, permutation

WARM_UP = 50  # mini-batches before the timed ones; their density is the row's
SHARE = {"tiki-taka": 100, "ttv2": 30}  # mini-batches a run, unless --full
RECORDED = 100  # mini-batches of a recording
POWER = {"response": {"family": "power", "tau": 0.6, "gamma": 1.0}, "w_max": 0.6, "w_min": -0.6}
POW_STEP = ("PowStep", {"pow_gamma": 1.0, "pow_gamma_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0})

Networks = OurNetwork | PeerNetwork


def cases() -> Iterator[Case]:
    """Yield the rows of this file."""
    yield Case("sparse-mnist-epoch1", partial(_replay, 0))
    yield Case("dense-mnist-ttv2-epoch10", partial(_replay, 9))
    yield Case("mnist-epoch-tiki-taka", partial(_epoch, "tiki-taka", 0))
    yield Case("mnist-epoch-ttv2", partial(_epoch, "ttv2", 9))


class Stretch:
    """Trains on the next `count` mini-batches of an epoch at each call; after the last comes the first again."""

    def __init__(self, network: Networks, data: Data, epoch: int, count: int) -> None:
        self._network, self._data, self.count = network, data, count
        order = permutation(1, "shuffle", epoch, len(data.train_y))
        self._batches = [order[chosen] for chosen in batches(len(order), BATCH)]
        self._next = 0

    def __call__(self) -> None:
        for _ in range(self.count):
            chosen = self._batches[self._next % len(self._batches)]
            self._next += 1
            self._network.train_batch(self._data.train_x[chosen], self._data.train_y[chosen])

    def __len__(self) -> int:
        return len(self._batches)


def mnist(options: Options) -> Data:
    """Return MNIST, or say where its files should be."""
    if options.data is None:
        raise UnavailableError("needs the files of MNIST: give their folder with --data or RPUDRIVER_DATA")
    try:
        return load_data(DataSection(name="mnist"), options.data)
    except DataError as error:
        raise UnavailableError(str(error)) from None


def _epoch(algorithm: str, trained: int, options: Options) -> Contest:
    """Return the contest of a share of an epoch, both sides starting from one state after `trained` epochs."""
    data, start = mnist(options), start_state(algorithm, trained, options)
    networks: dict[str, Networks] = {"ours": OurNetwork(algorithm, start["layers"])}
    if peer.available():
        networks["peer"] = _peer_network(algorithm, start)
    calls, densities = {}, {}
    for name, network in networks.items():
        stretch = Stretch(network, data, trained, WARM_UP)
        densities[name] = network.density(stretch)
        stretch.count = len(stretch) if options.full else SHARE[algorithm]
        calls[name] = stretch
        length = len(stretch)
    facts = {
        "settings": f"published: A at {FAST_LR[algorithm]}, rate 0.05, BL up to {MAX_BL[algorithm]}, batch {BATCH}, "
        "one transfer a mini-batch; forward and backward reads and digital work included",
        "epoch": trained + 1,
        "mini_batches_a_run": length if options.full else SHARE[algorithm],
        "mini_batches_an_epoch": length,
        "peer_density": densities.get("peer"),
        "start": start["note"],
    }
    return Contest(calls, densities["ours"], facts, once=True, runs=1 if options.full else None)


def _peer_network(algorithm: str, start: dict[str, Any]) -> PeerNetwork:
    network = PeerNetwork(algorithm)
    if start["peer"] is not None:
        network.load(start["peer"])
    return network


def start_state(algorithm: str, trained: int, options: Options) -> dict[str, Any]:
    """Return the peer's network after some epochs: ``layers`` as ours takes them, ``peer`` its own, a ``note``.

    Epoch 0 is made at once. A later one comes from the cache; with ``--full`` and aihwkit it is trained if it is not
    there, which takes many minutes.
    """
    if trained == 0:
        layers = PeerNetwork(algorithm).layer_states() if peer.available() else _default_layers()
        return {"layers": layers, "peer": None, "note": "untrained, the same weights on both sides"}
    path = options.cache / f"aihwkit-{algorithm}-{trained}-epochs.pt"
    if not path.exists():
        if not (options.full and peer.available()):
            raise UnavailableError(
                f"needs a network trained for {trained} epochs: run once with --full where aihwkit is installed; that "
                f"trains it, which takes up to an hour, and keeps it in {options.cache}"
            )
        _train_peer(algorithm, trained, options)
    saved: dict[str, Any] = torch.load(path, weights_only=False)  # our own file
    return saved


def _train_peer(algorithm: str, epochs: int, options: Options) -> None:
    """Train aihwkit's network and keep its state after every epoch; goes on from the last one that is there."""
    data, network = mnist(options), PeerNetwork(algorithm)
    options.cache.mkdir(parents=True, exist_ok=True)
    paths = [options.cache / f"aihwkit-{algorithm}-{epoch + 1}-epochs.pt" for epoch in range(epochs)]
    done = max((epoch + 1 for epoch, path in enumerate(paths) if path.exists()), default=0)
    if done:
        network.load(torch.load(paths[done - 1], weights_only=False)["peer"])
    for epoch, path in enumerate(paths[done:], start=done):
        Stretch(network, data, epoch, len(data.train_y) // BATCH)()
        accuracy = network.accuracy(data.test_x, data.test_y)
        note = f"after {epoch + 1} epochs of the peer's training (its test accuracy {accuracy:.4f}), on both sides"
        torch.save({"layers": network.layer_states(), "peer": network.save(), "note": note}, path)
        print(f"aihwkit {algorithm}: {note}", file=sys.stderr, flush=True)


def _default_layers() -> list[dict[str, Any]]:
    """Return untrained layers where no peer can be asked: torch's own distribution, in chip units at scale 1."""
    torch.manual_seed(1)
    layers = [torch.nn.Linear(n_in, n_out) for n_in, n_out in pairwise(LAYERS)]
    return [
        {
            "weights": layer.weight.detach(),
            "fast": torch.zeros_like(layer.weight),
            "scale": torch.ones(layer.out_features),
            "out_scale": torch.ones(layer.out_features),
            "bias": layer.bias.detach(),
        }
        for layer in layers
    ]


def _replay(trained: int, options: Options) -> Contest:
    """Return the contest of updates onto A as they occurred in training with TTv2, replayed as in training."""
    recording = recorded(trained, options)
    lr, max_bl = FAST_LR["ttv2"], MAX_BL["ttv2"]
    each = [contests.update(POWER, POW_STEP, pairs, lr, max_bl) for pairs in recording["layers"]]
    contest = contests.join(each, [n_in * n_out for n_in, n_out in pairwise(LAYERS)])
    facts = {"recording": recording["note"], "mini_batches_a_call": RECORDED, "batch": BATCH}
    return Contest(contest.calls, contest.density, dict(contest.facts) | facts)


def recorded(trained: int, options: Options) -> dict[str, Any]:
    """Return x and d of every layer, mini-batch by mini-batch, recorded in an epoch of our own TTv2 training.

    The first epoch is sampled evenly from its beginning to its end; a later one over its first tenth.
    """
    path = options.cache / f"updates-ttv2-epoch-{trained + 1}.pt"
    if path.exists():
        saved: dict[str, Any] = torch.load(path)
        return saved
    data, start = mnist(options), start_state("ttv2", trained, options)
    network = OurNetwork("ttv2", start["layers"])
    stretch = Stretch(network, data, trained, 1)
    layers: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in LAYERS[1:]]
    span = len(stretch) if trained == 0 else len(stretch) // 10
    print(f"recording updates in epoch {trained + 1} of MNIST ...", file=sys.stderr, flush=True)

    def note(layer: int, x: torch.Tensor, d: torch.Tensor) -> None:
        layers[layer].append((x.clone(), d.clone()))

    for number in range(span):
        network.note = note if number % (span // RECORDED) == 0 and len(layers[0]) < RECORDED else None
        stretch()
    text = f"{RECORDED} mini-batches spread over the first {span} of epoch {trained + 1}, TTv2, started {start['note']}"
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.save({"layers": layers, "note": text}, path)
    return {"layers": layers, "note": text}
