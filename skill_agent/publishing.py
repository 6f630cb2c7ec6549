"""Skills and policies to the Hugging Face Hub, with a card that says what they are and what they reached."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from skill_agent import arguments, hub
from skill_agent.files import read_json, write_whole
from skill_agent.origin import Origin
from skill_agent.policy import SkillPolicy
from skill_agent.skills import export_skills, find, load_skills
from skill_agent.transferred import TransferredPolicy, export_policy, load_policy
from skill_envs import ENVIRONMENTS, __version__, checks

Shared = SkillPolicy | TransferredPolicy
_CARD = "README.md"
_MOST_RECORD = 64 * 2**20  # of a record's file [byte]


def push_to_hub(
    what: Shared | Path | str,
    repository: str,
    *,
    kind: str = "skills",
    record: Path | str | None = None,
    license: str | None = None,
    private: bool = False,
    force: bool = False,
    token: str | None = None,
) -> str:
    """Put skills or a transferred policy on the Hugging Face Hub, for ``load_skills("hf:owner/name")``.

    One safetensors file and a card go there, in one commit. A repository that does not exist is made. Who you are,
    ``hf auth login`` or ``token`` says.

    Args:
        what: trained networks, such as ``model.policy``; or a file or a shipped name of ``kind``, which is checked.
        repository: "owner/name".
        kind: "skills" or "policy"; networks say it themselves.
        record: what was measured, whose numbers go into the card: a run's ``record.json``, or what
            ``skill-embed evaluate --json`` wrote.
        license: the licence of the networks by its name on the Hub, such as "mit"; None says nothing.
        private: whether a new repository is for its owner alone.
        force: replace the file of a repository that has one; the Hub keeps the old one in its history.
        token: the Hub's; None takes the one that ``hf auth login`` keeps.

    Returns:
        The address of the repository.

    Raises:
        FileExistsError: the repository has such a file already.
        FileNotFoundError: there is no such file or record.
        ModuleNotFoundError: huggingface_hub is not installed.
        OSError: the Hub can't be reached, or refuses.
        SkillsFileError: the file is none of ``kind``.
        ValueError: a name or a record that is not valid.
    """
    name = hub.parse(arguments.text("repository", repository))
    for argument, value in {"license": license, "token": token}.items():
        if value is not None:
            arguments.text(argument, value)
    checks.boolean("private", private)
    checks.boolean("force", force)
    if record is not None:
        arguments.path("record", record)
    if name.revision is not None:
        raise ValueError(f"repository={repository!r} is not valid with a revision; choose {name.repository!r}")
    checks.one_of("kind", kind, hub.KINDS)
    measured = None if record is None else read_record(Path(record))
    import huggingface_hub

    with tempfile.TemporaryDirectory() as folder:
        path, networks = _whole_file(what, kind, Path(folder))
        write_whole(Path(folder) / _CARD, card(networks, name.repository, measured, license).encode())
        api = huggingface_hub.HfApi(token=token, library_name="skill-embed", library_version=__version__)
        with hub.reached(name):
            api.create_repo(name.repository, private=private, exist_ok=True)
            if not force and api.file_exists(name.repository, path.name):
                raise FileExistsError(f"{name} has a {path.name} already; choose another name, or force to replace it")
            api.upload_folder(
                repo_id=name.repository,
                folder_path=folder,
                allow_patterns=[path.name, _CARD],
                commit_message=f"{path.name} by skill-embed {__version__}",
            )
    return f"https://huggingface.co/{name.repository}"


def _whole_file(what: Shared | Path | str, kind: str, folder: Path) -> tuple[Path, Shared]:
    """The file to be shared, in a folder under its name on the Hub, and what it holds."""
    if isinstance(what, SkillPolicy):
        return export_skills(what, folder / hub.file_of("skills")), what
    if isinstance(what, TransferredPolicy):
        return export_policy(what, folder / hub.file_of("policy")), what
    if not isinstance(what, Path | str) or hub.is_name(what):
        raise ValueError(f"what={what!r:.200} is not valid; give networks, a file or a shipped name")
    # Read first: nobody gets a file that can't be loaded.
    source = find(what, kind)
    networks: Shared = load_skills(what) if kind == "skills" else load_policy(what)
    path = folder / hub.file_of(kind)
    write_whole(path, source.read_bytes())
    return path, networks


# The card ------------------------------------------------------------------------------------------


def card(networks: Shared, repository: str, record: dict[str, Any] | None = None, license: str | None = None) -> str:
    """The text of a repository's README.md, with the Hub's fields in front.

    Args:
        networks: what is shared.
        repository: "owner/name".
        record: from `read_record`.
        license: as of `push_to_hub`.

    Raises:
        ValueError: a licence that is no name.
    """
    if license is not None and (not license or not license.replace("-", "").replace(".", "").isalnum()):
        raise ValueError(f"license={license!r} is not valid; choose a name of the Hub, such as 'mit' or 'apache-2.0'")
    skills = networks if isinstance(networks, SkillPolicy) else networks.skills
    kind = "skills" if isinstance(networks, SkillPolicy) else "policy"
    fields = ["library_name: skill-embed", "pipeline_tag: reinforcement-learning"]
    fields += [f"license: {license}"] if license else []
    fields += ["tags:", "- reinforcement-learning", "- robotics", "- skills", "- mujoco"]
    title = "Skills that are indexed by z" if kind == "skills" else "A policy that chooses among skills"
    return "\n".join(
        [
            *("---", *fields, "---", ""),
            *(f"# {title}", ""),
            "Made by skill-embed, an implementation of [*Learning an Embedding Space for Transferable Robot "
            "Skills*](https://openreview.net/forum?id=rk07ZXZRb).",
            "",
            *_facts(networks, skills),
            *("", "## Use", "", "```python", f"from skill_agent import load_{kind}", ""),
            f'{kind} = load_{kind}("{hub.PREFIX}{repository}")',
            f"action, state = {kind}.predict(observation, state=None)  # a new episode begins with state=None",
            *("```", "", "The file can't run code. It is checked when it is loaded.", ""),
            *_numbers(record),
        ]
    )


def _facts(networks: Shared, skills: SkillPolicy) -> list[str]:
    """A table of what the networks are."""
    origin: Origin | None = networks.origin
    rows = {
        "environment": (origin.environment if origin else "") or "not said",
        "tasks": ", ".join(origin.tasks) if origin else "not said",
        "z": f"{skills.embedding_distribution.dim} entries, {skills.config.embedding}",
        "observations, actions": f"{skills.state_dim}, {skills.action_space.shape[0]}",
    }
    if isinstance(networks, TransferredPolicy):
        rows["z is held"] = f"{networks.hold} steps"
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())]


def _numbers(record: dict[str, Any] | None) -> list[str]:
    """The part of the card that says what was reached."""
    if record is None:
        return ["## Results", "", "No record was given.", ""]
    rows = [f"| {_cell(row['task'])} | {row['success']} | {row['return']} |" for row in _results(record)]
    said = []
    if "total_timesteps" in record:
        said.append(f"trained for {record['total_timesteps']:,} steps of {_cell(record['env_id'])}")
    if "train_seconds" in record:
        said.append(f"in {record['train_seconds']:,.0f} s")
    episodes = record.get("episodes", record.get("final", {}).get("episodes_per_task"))
    said += [f"seed {record['seed']}"] if "seed" in record else []
    said += [f"{episodes} episodes of each task"] if episodes else []
    versions = record.get("versions", {})
    said += [_cell(", ".join(f"{name} {number}" for name, number in versions.items()))] if versions else []
    return ["## Results", "", "| task | success | return |", "|---|---|---|", *rows, "", "; ".join(said) + ".", ""]


def read_record(path: Path) -> dict[str, Any]:
    """What was measured, from a run's ``record.json`` or a file of ``skill-embed evaluate --json``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of the two.
    """
    if path.stat().st_size > _MOST_RECORD:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; at most {_MOST_RECORD:,} are read")
    try:
        record: dict[str, Any] = read_json(path)
        _numbers(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(
            f"{path} is neither a run's record.json nor a file of skill-embed evaluate --json ({error!r:.200})"
        ) from error
    return record


def _results(record: dict[str, Any]) -> list[dict[str, str]]:
    """Success and return of each task, as texts."""
    if "final" not in record:
        return [
            {"task": task["task"], "success": _share(task.get("success")), "return": f"{task['return']:.4g}"}
            for task in record["tasks"]
        ]
    final = record["final"]
    success, returns = final.get("success"), final.get("return")
    count = len(success if success is not None else returns)
    suite = ENVIRONMENTS.get(record["env_id"])
    names = final.get("tasks") or (list(suite.tasks) if suite else [f"task {k}" for k in range(count)])
    returns = returns if isinstance(returns, list) else [returns] * count
    rows = []
    for k, name in enumerate(names):
        reward = "not kept" if returns[k] is None else f"{returns[k]:.4g}"
        rows.append({"task": name, "success": _share(success[k] if success is not None else None), "return": reward})
    return rows


def _share(value: float | None) -> str:
    return "not told" if value is None else f"{value:.0%}"


def _cell(text: str) -> str:
    """A text as one cell of a table: names may come from anyone."""
    return "".join(f"\\{letter}" if letter in "\\|<>[]*_`" else letter for letter in " ".join(str(text).split()))
