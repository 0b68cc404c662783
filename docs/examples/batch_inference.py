"""Features and predictions for a batch of prices, by the fastest engine that is installed."""

import math

from exporter.performance import DenseNetwork, Layer, PerformanceOptimizer

optimizer = PerformanceOptimizer()
optimizer.warm_up()  # before the first tick: Numba compiles
prices = [100 + math.sin(number / 10) for number in range(500)]
average = optimizer.compute("moving_average", prices, window=20)
deviation = optimizer.compute("moving_deviation", prices, window=20)

model = DenseNetwork([Layer([[0.5, -1.0], [1.0, 0.25]], [0.1, 0.0], "relu"), Layer([[1.0], [-1.0]], [0.0], "sigmoid")])
rows = [[price - mean, spread] for price, mean, spread in zip(prices, average, deviation, strict=True)][20:]
scores = optimizer.predict(model, rows)
print(f"{len(scores)} scores, from {min(scores)[0]:.3f} to {max(scores)[0]:.3f}")
