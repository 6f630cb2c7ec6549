"""Package metadata; tool settings live in pyproject.toml.

Two distributions come from here: skill-embed, which has everything, and skill-envs, the environments without torch. The
second is built where SKILL_EMBED_DISTRIBUTION is "skill-envs".
"""

import os
import re
from pathlib import Path

from setuptools import setup

VERSION = "0.1.0"
REPOSITORY = "https://github.com/skill-embed/skill-embed"
SITE = "https://skill-embed.github.io/skill-embed/"
DISTRIBUTIONS = ("skill-embed", "skill-envs")

ENVIRONMENTS_NEED = [
    "gymnasium>=1.4,<2",
    # dm-control, up to 1.0.50 at least, reads fields that MuJoCo 4 took away, and sets no limit of its own.
    # tests/test_pin.py says when this one can go.
    "mujoco>=3.17,<4",
    "numpy>=1.26",
    "imageio[ffmpeg]>=2.34",
    "pillow>=10.1",  # the first with a font of any size
    "tqdm>=4.64",
]
LEARNER_NEEDS = [
    "torch>=2.4",
    "stable-baselines3>=2.9,<3",
    "cloudpickle>=2.2",  # SB3 needs it too
    "tensorboard>=2.9",
    "rich>=13",  # the progress bar of a training, by tqdm
    "matplotlib>=3.8",
    "scipy>=1.15",
    "tyro>=0.9",
    "safetensors>=0.4.3",
    "filelock>=3.12",
]


def absolute(text: str) -> str:
    """The text with its links to files of the repository as links to the web: PyPI has no files beside it."""
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    text = re.sub(r"(!\[[^]]*\])\((?!https?:|#)([^)\s]+)\)", rf"\1({raw}/v{VERSION}/\2)", text)
    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", rf"]({REPOSITORY}/blob/v{VERSION}/\1)", text)


distribution = os.environ.get("SKILL_EMBED_DISTRIBUTION", "skill-embed")
if distribution not in DISTRIBUTIONS:
    raise ValueError(f"SKILL_EMBED_DISTRIBUTION={distribution!r} is not valid; choose from {list(DISTRIBUTIONS)}")
packages = ["skill_envs", "skill_envs.assets"]
package_data = {"skill_envs": ["py.typed"], "skill_envs.assets": ["*.xml", "SHA256SUMS"]}
install_requires = list(ENVIRONMENTS_NEED)
description = "Environments for learning an embedding space of transferable robot skills"
commands = []
if distribution == "skill-embed":
    packages += ["skill_agent", "skill_agent.benchmark", "skill_agent.commands", "skill_agent.experiments"]
    package_data["skill_agent"] = ["py.typed", "trained/*"]
    install_requires += LEARNER_NEEDS
    description = "Learning an embedding space for transferable robot skills: environments and off-policy learner"
    commands = ["skill-embed=skill_agent.cli:main"]

setup(
    name=distribution,
    version=VERSION,
    description=description,
    long_description=absolute(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author="The skill-embed authors",
    license="MIT",
    url=SITE,
    project_urls={
        "Documentation": SITE,
        "Source": REPOSITORY,
        "Issues": f"{REPOSITORY}/issues",
        "Changelog": f"{SITE}changelog.html",
        "Paper": "https://openreview.net/forum?id=rk07ZXZRb",
    },
    keywords=[
        "reinforcement learning",
        "robotics",
        "manipulation",
        "skills",
        "transfer learning",
        "hierarchical reinforcement learning",
        "multi-task learning",
        "gymnasium",
        "mujoco",
        "stable-baselines3",
    ],
    python_requires=">=3.11",
    packages=packages,
    package_dir={"skill_envs.assets": "assets"},
    package_data=package_data,
    install_requires=install_requires,
    extras_require={
        # No requirement of everyone: dm-control needs labmaze, which has no wheels for Python 3.13 and later.
        "dm": ["dm-control>=1.0.50,<2", "dm-env>=1.6", "shimmy[dm-control]>=2.0.1"],
        "explore": ["mjviser>=0.0.14", "trimesh>=4", "viser>=1.1"],
        "hub": ["huggingface_hub>=1.0"],
        "minari": ["minari[hdf5]>=0.5.2"],
        "tune": ["optuna>=4"],
        "ray": ["ray>=2.52,<3"],  # the first with tokens
        "docs": ["furo>=2024.8", "myst-parser>=4", "sphinx>=8"],
        "dev": [
            "dm-control>=1.0.50,<2; python_version < '3.13'",
            "dm-env>=1.6",
            "hypothesis>=6.100",
            "huggingface_hub>=1.0",
            "minari[hdf5]>=0.5.2",
            "mjviser>=0.0.14",
            "optuna>=4",
            "trimesh>=4",
            "viser>=1.1",
            "websockets>=13",  # the browser of tests
            "mypy>=1.11",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "furo>=2024.8",  # a test builds the site
            "myst-parser>=4",
            "sphinx>=8",
            "sb3-contrib>=2.9,<3",
        ],
    },
    entry_points={"console_scripts": commands},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Physics",
        "Typing :: Typed",
    ],
)
