"""Writes expected.json: data sets and what scikit-learn's Gaussian process says about them.

    pip install -r requirements.txt && python generate.py

For each case: log marginal likelihood and latent posterior at fixed hyperparameters, and the highest log marginal
likelihood that its optimizer finds from twelve starts. The mean is zero throughout; values are used as they are.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

warnings.filterwarnings("ignore")


def surface(x):
    """A smooth function in which later coordinates matter less."""
    return np.sin(4 * x[:, 0]) + sum((x[:, i] - 0.4) ** 2 / i for i in range(1, x.shape[1]))


def case(name, n, dimension, noise, known, duplicates, seed):
    rng = np.random.default_rng(seed)
    x = rng.random((n, dimension)).round(6)
    for i in range(duplicates):
        x[n - 1 - i] = x[i]
    known_noise = (known * rng.random(n) ** 2).round(9)
    y = surface(x) + noise * rng.standard_normal(n) + np.sqrt(known_noise) * rng.standard_normal(n)
    y = (y - y.mean()).round(9)
    questions = np.vstack([rng.random((8, dimension)).round(6), x[:2]])

    signal, lengths, white = 1.3, (0.4 + 0.3 * np.arange(dimension)), 0.02
    kernel = ConstantKernel(signal) * Matern(lengths, nu=2.5)
    fixed = GaussianProcessRegressor(kernel, alpha=known_noise + white, optimizer=None).fit(x, y)
    mean, deviation = fixed.predict(questions, return_std=True)

    free = ConstantKernel(1.0, (1e-5, 1e6)) * Matern(np.ones(dimension), (1e-3, 1e5), nu=2.5)
    free += WhiteKernel(0.02, (1e-8, 1e3))
    fitted = GaussianProcessRegressor(
        free, alpha=known_noise + 1e-10, n_restarts_optimizer=11, random_state=0
    ).fit(x, y)
    return {
        "name": name,
        "points": x.tolist(),
        "values": y.tolist(),
        "known_noise": known_noise.tolist(),
        "signal_variance": signal,
        "length_scales": lengths.tolist(),
        "noise_variance": white,
        "log_marginal_likelihood": fixed.log_marginal_likelihood_value_,
        "questions": questions.tolist(),
        "means": mean.tolist(),
        "variances": (deviation**2).tolist(),
        "best_log_marginal_likelihood": fitted.log_marginal_likelihood_value_,
    }


cases = [
    case("three points on a line", 3, 1, 0.0, 0.0, 0, 1),
    case("noisy plane", 25, 2, 0.1, 0.0, 0, 2),
    case("known noise in three dimensions", 40, 3, 0.05, 0.2, 0, 3),
    case("duplicates in four dimensions", 60, 4, 0.1, 0.0, 15, 4),
    case("a hundred and twenty points", 120, 3, 0.05, 0.05, 0, 5),
]
Path(__file__).with_name("expected.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")
