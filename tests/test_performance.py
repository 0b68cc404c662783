"""The package for programs loads what a program uses, and names what is missing."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_no_library_of_its_parts() -> None:
    code = """
import sys, exporter.performance
heavy = {"aiohttp", "confluent_kafka", "numpy", "numba", "onnxruntime", "redis", "cachetools", "tenacity", "psutil"}
print(sorted(heavy & sys.modules.keys()))
from exporter.performance import CircuitBreaker, EventBus, PerformanceOptimizer
print(sorted(heavy & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


MISSING = """
import sys
for name in ("cachetools", "tenacity", "numpy"):
    sys.modules[name] = None
from exporter.performance import CacheManager, OnnxModel, PerformanceOptimizer, retry_with_backoff
for call in (CacheManager, retry_with_backoff, lambda: PerformanceOptimizer().predict(OnnxModel(b""), [])):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "CacheManager needs cachetools: pip install 'marketdata-exporter[performance]'",
        "retry_with_backoff needs tenacity: pip install 'marketdata-exporter[performance]'",
        "a model in ONNX format needs onnxruntime: pip install 'marketdata-exporter[compute]'",
    ]
