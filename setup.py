"""Packaging. Tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
SOURCE = (HERE / "minireptile" / "__init__.py").read_text(encoding="utf-8")

# minireptile/kernels is a symbolic link to kernels/. Where git could not make one (Windows without
# the permission), the mapping below takes its place, so that wheels can be built all the same.
LINKED = (HERE / "minireptile" / "kernels").is_dir()

CLI = [
    "safetensors>=0.4",
    "rich-click>=1.9",
    "rich>=13.7",
    "pillow>=10.1",
    "matplotlib>=3.7",
    "pooch>=1.7",
    "threadpoolctl>=3.1",
]
NUMBA = ["numba>=0.59", "scipy>=1.10", "threadpoolctl>=3.1", "platformdirs>=3.0"]
# With compilers and CUDA's libraries; a machine without an NVIDIA GPU has no use for them.
# numba-cuda 0.30 calls what NumPy 2.5 has no longer.
CUDA12 = [*NUMBA, "cupy-cuda12x[ctk]>=14", "numba-cuda[cu12]>=0.30", "numpy<2.5"]
CUDA13 = [*NUMBA, "cupy-cuda13x[ctk]>=14", "numba-cuda[cu13]>=0.30", "numpy<2.5"]
# numba-cuda for its simulator, and for a compiler that tests every GPU kernel without a GPU.
DEV = [
    *CLI,
    *NUMBA,
    "numba-cuda[cu13]>=0.30",
    "numpy<2.5",
    "pytest>=7.4",
    "pytest-xdist>=3.5",
    "hypothesis>=6.80",
    "ruff>=0.6",
    "mypy>=1.10",
    "sympy>=1.13",
    "numpydoc>=1.8",
    "scikit-learn>=1.5",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "ipykernel>=6.29",
    "build>=1.2",
]
# Workers on other machines, which need the same package and NumPy there.
DASK = ["distributed>=2024.1"]
MPI = ["mpi4py>=3.1"]
# The site, on Python 3.11 or newer.
DOCS = ["sphinx>=9,<10", "myst-parser>=5", "furo>=2025.12.19", "numpydoc>=1.8", "hypothesis"]
MUTANTS = [*CLI, "mutmut>=3.8,<4", "pytest>=7.4", "hypothesis>=6.80", "scipy>=1.10"]

setup(
    name="minireptile",
    version=re.findall(r'^__version__ = "(.+)"$', SOURCE, re.MULTILINE)[0],
    description="Reptile meta-learning with hand-derived layers and its loops in the open",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    install_requires=["numpy>=1.24"],
    extras_require={
        "cli": CLI,
        "numba": NUMBA,
        "cuda12": CUDA12,
        "cuda13": CUDA13,
        "dask": DASK,
        "mpi": MPI,
        "dev": DEV,
        "pages": ["playwright>=1.50", "marionette-driver>=3.4"],  # drive browsers that are there
        "docs": DOCS,
        "mutants": MUTANTS,
    },
    packages=[
        "minireptile",
        "minireptile.cli",
        "minireptile.devices",
        "minireptile.engine",
        "minireptile.estimators",
        "minireptile.explore",
        "minireptile.explore.figures",
        "minireptile.kernels",
        "minireptile.layers",
        "minireptile.reproduce",
        "minireptile.runs",
        "minireptile.runs.workers",
        "minireptile.tasks",
        "minireptile.tasks.files",
        "minireptile.testing",
    ],
    package_dir={"": "."} if LINKED else {"": ".", "minireptile.kernels": "kernels"},
    package_data={
        "minireptile": ["py.typed", "pretrained/*.safetensors", "pretrained/*.md"],
        "minireptile.explore": ["*.npz", "page/*", "page/*/*"],
        "minireptile.kernels": ["*.md", "*.cu", "*.cuh"],
        "minireptile.layers": ["*.md"],
        "minireptile.testing": ["*.md"],
    },
    entry_points={"console_scripts": ["minireptile=minireptile.cli:main"]},
)
