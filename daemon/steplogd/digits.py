"""A real training for the demo: a small network learns to read handwritten digits."""

from __future__ import annotations

import argparse

import steplog

HIDDEN_UNITS = 32
LEARNING_RATE = 0.002
BATCH_SIZE = 64


def main() -> None:
    """Train for the number of steps that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--run-id")
    arguments = parser.parse_args()
    parameters = {
        "hidden_units": HIDDEN_UNITS,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH_SIZE,
        "steps": arguments.steps,
    }
    with steplog.start_run(arguments.run_id, tag="digits", parameters=parameters):
        train(arguments.steps)


def train(steps: int) -> None:
    """Train step by step, tracking as it goes; then say how well each digit is read."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(images / 16.0, digits, test_size=0.3, random_state=0)
    network = MLPClassifier((HIDDEN_UNITS,), learning_rate_init=LEARNING_RATE, random_state=0)
    draw = np.random.default_rng(0)
    with steplog.task("train"):
        steplog.track_this(data="scikit-learn digits, 8 by 8 pixels", images=len(x))
        for step in range(steps):
            batch = draw.integers(len(x), size=BATCH_SIZE)
            network.partial_fit(x[batch], y[batch], classes=np.arange(10))
            steplog.track_this(
                step=step,
                loss=network.loss_,
                batch_accuracy=network.score(x[batch], y[batch]),
                test_loss=log_loss(y_test, network.predict_proba(x_test), labels=np.arange(10)),
                weight_norm=np.sqrt(sum((layer**2).sum() for layer in network.coefs_)),
            )
    with steplog.task("evaluate"):
        guesses = network.predict(x_test)
        by_digit = {str(d): float((guesses[y_test == d] == d).mean()) for d in range(10)}
        steplog.track_this(accuracy=(guesses == y_test).mean(), accuracy_by_digit=by_digit)


if __name__ == "__main__":
    main()
