"""Every optimiser of a recipe trains, keeps its groups' settings and goes on after a stop."""

import copy

import pytest
import torch
from torch import nn

from lotlens.errors import InputError
from lotlens.recipes.schema import OPTIMISERS, Optimiser
from lotlens.vision.optimisers import build_optimiser, check_optimiser

NAMES = [*OPTIMISERS, "timm:lion", "timm:lamb", "timm:adabelief", "timm:sgd", "timm:muon"]


def make(name, *, fused=True, **changes):
    """A small network and its optimiser: matrices and vectors in a group each."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "lr": 0.01, "weight_decay": 0.03},
        {"params": [p for p in parameters if p.ndim == 1], "lr": 0.02, "weight_decay": 0.0},
    ]
    return network, build_optimiser(groups, Optimiser(name=name, **changes), 0.02, fused=fused)


def train(network, optimiser, steps):
    for step in steps:
        inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss = (network(inputs) - 1).square().mean()
        loss.backward()
        optimiser.step()
    return loss.item()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_trains_with_its_groups_own_settings(name):
    network, optimiser = make(name)
    settings = [(group["lr"], group["weight_decay"]) for group in optimiser.param_groups]
    assert settings == [(0.01, 0.03), (0.02, 0.0)]
    first = train(network, optimiser, range(1))
    assert train(network, optimiser, range(1, 30)) < first


@pytest.mark.parametrize("name", NAMES)
def test_a_stop_and_going_on_gives_the_same_weights(name):
    network, optimiser = make(name)
    train(network, optimiser, range(7))
    stopped, state = make(name)
    train(stopped, state, range(3))
    saved = copy.deepcopy((stopped.state_dict(), state.state_dict()))
    resumed, other = make(name)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    train(resumed, other, range(3, 7))
    assert same(network, resumed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("amsgrad", torch.optim.Adam),
        ("nadam", torch.optim.NAdam),
        ("adamax", torch.optim.Adamax),
        ("sgd", torch.optim.SGD),
    ],
)
def test_the_name_says_which_of_torchs_it_is(name, expected):
    _, optimiser = make(name)
    assert type(optimiser) is expected
    assert optimiser.defaults.get("amsgrad", False) == (name == "amsgrad")
    fused = name in ("adam", "adamw", "amsgrad", "sgd")
    assert bool(optimiser.defaults.get("fused")) == fused
    assert not make(name, fused=False)[1].defaults.get("fused")


def test_no_two_optimisers_are_the_same():
    weights = {}
    for name in OPTIMISERS:
        network, optimiser = make(name)
        train(network, optimiser, range(20))
        weights[name] = network
    names = list(weights)
    for place, name in enumerate(names):
        assert not any(same(weights[name], weights[other]) for other in names[place + 1 :]), name


def test_weight_decay_shrinks_matrices_and_leaves_vectors():
    network, optimiser = make("adamw")
    before = copy.deepcopy(network.state_dict())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for key, value in network.state_dict().items():
        expected = before[key] * (1 - 0.01 * 0.03) if value.ndim > 1 else before[key]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd_is_nesterovs_where_it_has_momentum(momentum, nesterov):
    _, optimiser = make("sgd", momentum=momentum)
    assert optimiser.defaults["momentum"] == momentum
    assert optimiser.defaults["nesterov"] is nesterov


def test_momentum_reaches_timms():
    assert make("timm:rmsproptf", momentum=0.7)[1].defaults["momentum"] == 0.7


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("adm", "did you mean 'adam'?"),
        ("ADAMW", "did you mean 'adamw'?"),
        ("timm:lions", "timm has no optimiser 'lions', did you mean 'timm:lion'?"),
        ("timm:", "timm has no optimiser ''"),
        ("timm:lookahead_adamw", "timm has no optimiser"),
        ("timm:fusedadam", "cannot be used"),
        ("timm:bnbadam8bit", "cannot be used"),
        ("timm:adahessian", "cannot be used"),
        ("timm:kron", "cannot be used"),
    ],
)
def test_an_unusable_name_is_refused_with_the_likely_one(name, complaint):
    assert complaint in (check_optimiser(name) or "")
    with pytest.raises(InputError, match=r"optimiser\.name"):
        make(name)


def test_a_usable_name_is_not_complained_of():
    assert [check_optimiser(name) for name in NAMES] == [None] * len(NAMES)


def test_settings_that_an_optimiser_refuses_are_told():
    with pytest.raises(InputError, match=r"timm:sgd cannot have .*momentum = 0.*Nesterov"):
        make("timm:sgd", momentum=0.0)
