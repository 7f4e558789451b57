"""Package layout: `models/` is installed as `sparsecore.models`, `bench/` as `sparsecore.bench`, nothing else."""

from setuptools import find_packages, setup

NESTED = ("models", "bench")
packages = find_packages(include=["sparsecore", "sparsecore.*"])
for name in NESTED:
    packages += [f"sparsecore.{package}" for package in find_packages(include=[name, f"{name}.*"])]

setup(packages=packages, package_dir={f"sparsecore.{name}": name for name in NESTED})
