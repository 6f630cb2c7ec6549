"""Package metadata; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import setup

VERSION = "0.1.0"
REPOSITORY = "https://github.com/skill-embed/skill-embed"

setup(
    name="skill-embed",
    version=VERSION,
    description="Learning an embedding space for transferable robot skills: environments and off-policy learner",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=["skill_envs", "skill_envs.assets", "skill_agent", "skill_agent.commands", "skill_agent.experiments"],
    package_dir={"skill_envs.assets": "assets"},
    package_data={
        "skill_envs": ["py.typed"],
        "skill_envs.assets": ["*.xml", "SHA256SUMS"],
        "skill_agent": ["py.typed", "trained/*"],
    },
    install_requires=[
        "gymnasium>=1.4,<2",
        # dm-control, up to 1.0.50 at least, reads fields that MuJoCo 4 took away, and sets no limit of its own.
        # tests/test_pin.py says when this one can go.
        "mujoco>=3.17,<4",
        "numpy>=1.26",
        "imageio[ffmpeg]>=2.34",
        "torch>=2.4",
        "stable-baselines3>=2.9,<3",
        "tensorboard>=2.9",
        "tqdm>=4.64",
        "rich>=13",  # the progress bar of a training, by tqdm
        "matplotlib>=3.8",
        "scipy>=1.15",
        "tyro>=0.9",
        "safetensors>=0.4.3",
        "filelock>=3.12",
    ],
    extras_require={
        # No requirement of everyone: dm-control needs labmaze, which has no wheels for Python 3.13 and later.
        "dm": ["dm-control>=1.0.50,<2", "dm-env>=1.6", "shimmy[dm-control]>=2.0.1"],
        "docs": ["furo>=2024.8", "myst-parser>=4", "sphinx>=8"],
        "dev": [
            "dm-control>=1.0.50,<2",
            "dm-env>=1.6",
            "hypothesis>=6.100",
            "mypy>=1.11",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "furo>=2024.8",  # a test builds the site
            "myst-parser>=4",
            "sphinx>=8",
        ],
    },
    entry_points={"console_scripts": ["skill-embed=skill_agent.cli:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
