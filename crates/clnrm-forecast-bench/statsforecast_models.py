#!/usr/bin/env python3
"""Forecasts of statsforecast's models in the columns of clnrm-forecast-bench, for comparison.

pip install numpy pandas statsforecast
statsforecast_models.py --traces data/traces --plan plan.csv --out auto_ets.csv --method auto_ets [--every 5]
"""
import argparse
import csv
import pathlib
import time

import numpy as np
import pandas as pd
import statsforecast.models as models

STEPS = (1, 3, 6, 12)
METHODS = {
    "sf_ses": lambda: models.AutoETS(season_length=1, model="ANN"),
    "sf_damped_holt": lambda: models.AutoETS(season_length=1, model="AAN", damped=True),
    "sf_auto_ets": lambda: models.AutoETS(season_length=1),
    "sf_theta": lambda: models.Theta(season_length=1),
    "sf_auto_arima": lambda: models.AutoARIMA(season_length=1, approximation=True),
}


def forecast(method, history):
    """Points and quantiles (5, 10, 50, 90, 95 %) for 12 steps; the last value where the model fails."""
    try:
        made = METHODS[method]().forecast(y=history, h=max(STEPS), level=[80, 90])
        mean = np.asarray(made["mean"])
        columns = [made["lo-90"], made["lo-80"], mean, made["hi-80"], made["hi-90"]]
        quantiles = np.stack(columns, axis=1)
        if not (np.isfinite(mean).all() and np.isfinite(quantiles).all()):
            raise ValueError("not finite")
    except Exception:
        mean = np.full(max(STEPS), history[-1])
        quantiles = np.repeat(mean[:, None], 5, axis=1)
    if history.min() >= 0:
        mean, quantiles = np.maximum(mean, 0), np.maximum(quantiles, 0)
    return mean, np.sort(quantiles, axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=pathlib.Path, required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--every", type=int, default=1, help="only every n-th origin of a trace")
    arguments = parser.parse_args()
    plan = pd.read_csv(arguments.plan)
    with open(arguments.out, "w", newline="") as out:
        table = csv.writer(out)
        table.writerow("trace origin method h point q05 q10 q50 q90 q95 cpu_ms".split())
        for name, planned in plan.groupby("trace"):
            values = pd.read_csv(arguments.traces / f"{name}.csv")["value"].to_numpy(float)
            for origin in planned.origin[arguments.every // 2 :: arguments.every]:
                history = np.ascontiguousarray(values[max(0, origin - arguments.window) : origin])
                before = time.process_time()
                mean, quantiles = forecast(arguments.method, history)
                cpu_ms = (time.process_time() - before) * 1e3
                for step in STEPS:
                    row = [name, origin, arguments.method, step, mean[step - 1], *quantiles[step - 1]]
                    table.writerow([*row, f"{cpu_ms:.4f}"])


if __name__ == "__main__":
    main()
