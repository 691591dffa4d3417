"""Run ids: what one may look like, and how a new one is made up."""

from __future__ import annotations

import os
import re
import time
from typing import Final

from steplog.errors import InvalidName

MAX_RUN_ID_CHARACTERS: Final = 128

_RUN_ID: Final = re.compile(
    rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_RUN_ID_CHARACTERS - 1}}}", re.ASCII
)

_ADJECTIVES: Final = (
    "amber ancient autumn blazing blocking bold brave bright brisk calm candid clever cobalt "
    "cosmic crimson crisp curious dapper daring deft eager earnest electric elegant ember "
    "fearless floral fluent frosty gentle gilded gleaming golden graceful hasty hidden honest "
    "humble icy indigo ivory jade jolly keen kind lively lucid lunar magnetic mellow merry "
    "mighty misty modest noble nimble northern opal orderly patient pearly placid polar "
    "polished proud quick quiet radiant rapid rustic sage scarlet serene sharp shining silent "
    "silver sincere solar solid spry steady stellar sterling stoic sunny swift tender tidal "
    "tidy tranquil upbeat valiant velvet vivid warm wandering whimsical wild windy winter "
    "wise witty young zesty"
).split()  # fmt: skip

_SCIENTISTS: Final = (
    "agnesi archimedes babbage banach bardeen bell bernoulli bohr boltzmann boole born bose "
    "brahe cantor carson cauchy celsius chandrasekhar church colden copernicus curie dalton "
    "darwin dijkstra dirac einstein engelbart erdos euclid euler faraday fermat fermi feynman "
    "fourier franklin galileo galois gauss germain godel goodall hamilton hawking heisenberg "
    "hertz hilbert hodgkin hooke hopper hubble huygens hypatia jacobi jemison johnson joule "
    "kelvin kepler khayyam knuth kolmogorov kovalevskaya lagrange lamarr laplace lavoisier "
    "leavitt leibniz lovelace lyapunov markov maxwell mcclintock meitner mendel mendeleev "
    "mirzakhani napier nash newton nightingale nobel noether ohm pascal pasteur pauli payne "
    "planck poincare ptolemy pythagoras raman ramanujan riemann ride rosalind rubin "
    "rutherford sagan salk schrodinger shannon stonebraker tao tesla thales torvalds turing "
    "vaughan volta wiles wing wozniak wu yalow yonath"
).split()  # fmt: skip


def check_run_id(run_id: str) -> str:
    """Return the run id unchanged.

    Raises:
        InvalidName: It is not 1 to 128 of `[A-Za-z0-9._-]`, or begins with a dot.
    """
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        shown = repr(run_id)[:160]
        raise InvalidName(
            f"{shown} cannot be a run id: use 1 to 128 of A-Z a-z 0-9 . _ - and no dot in front"
        )
    return run_id


def propose_run_id() -> str:
    """Make up a run id such as `blazing-colden-0544`: adjective, scientist, local HHMM.

    Whoever uses it makes sure that it is not taken yet: there are some 12,000 in each minute.
    """
    draw = int.from_bytes(os.urandom(8))  # not `random`: a training may have seeded that
    adjective = _ADJECTIVES[draw % len(_ADJECTIVES)]
    scientist = _SCIENTISTS[draw // len(_ADJECTIVES) % len(_SCIENTISTS)]
    return f"{adjective}-{scientist}-{time.strftime('%H%M')}"


def new_writer_id() -> str:
    """Return 12 hex digits that no other writer of a run has: one in 10^14 pairs would meet."""
    return os.urandom(6).hex()
