"""Skills from and to the Hugging Face Hub: a fake of its client, and a server on this machine. No network is used."""

import http.server
import inspect
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from sharing import forge
from toy import ROOT

from skill_agent import (
    SkillEmbedding,
    SkillsFileError,
    cli,
    hub,
    load_policy,
    load_skills,
    make_skill_vec_env,
    publishing,
    push_to_hub,
)
from skill_agent.skills import TRAINED

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
RECORD = ROOT / "records/fig5/lwall-seed0.json"
LWALL = TRAINED / "lwall-skills.safetensors"


class FakeHub:
    """Repositories in a folder; the parts of huggingface_hub that are used."""

    def __init__(self, folder):
        self.folder, self.private, self.fetched, self.online = folder, {}, [], True
        self.sizes = {}  # what is said of a file, where that is not true

    def HfApi(self, token=None, library_name=None, library_version=None):
        self.token = token
        return self

    def model_info(self, repository, *, revision=None, files_metadata=False):
        assert files_metadata
        if not self.online:
            raise RuntimeError("no network\nat all")  # the client passes on any error of its transport
        if not (self.folder / repository).exists() or revision == "v9":
            response = SimpleNamespace(headers={}, request=None, status_code=404)
            raise huggingface_hub.errors.RepositoryNotFoundError("404", response=response)
        files = [path for path in (self.folder / repository).iterdir() if path.is_file()]
        listed = [SimpleNamespace(rfilename=p.name, size=self.sizes.get(p.name, p.stat().st_size)) for p in files]
        return SimpleNamespace(sha=f"sha-of-{revision}", siblings=listed)

    def hf_hub_download(self, repository, file, *, revision):
        self.fetched.append((repository, file, revision))
        return str(self.folder / repository / file)

    def scan_cache_dir(self):
        if not self.fetched:
            raise huggingface_hub.errors.CacheNotFound("no cache", self.folder)
        repositories = {repository for repository, _, _ in self.fetched}
        return SimpleNamespace(repos=[self._kept(repository) for repository in repositories])

    def _kept(self, repository):
        files = [SimpleNamespace(file_name=p.name, file_path=p) for p in (self.folder / repository).iterdir()]
        commits = [
            SimpleNamespace(commit_hash=sha, last_modified=1.0, files=files)
            for kept, _, sha in self.fetched
            if kept == repository
        ]
        return SimpleNamespace(repo_type="model", repo_id=repository, revisions=commits)

    def create_repo(self, repository, *, private, exist_ok):
        assert exist_ok
        self.private.setdefault(repository, private)
        (self.folder / repository).mkdir(parents=True, exist_ok=True)

    def file_exists(self, repository, file):
        return (self.folder / repository / file).exists()

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
        for name in allow_patterns:
            (self.folder / repo_id / name).write_bytes((Path(folder_path) / name).read_bytes())


@pytest.fixture
def fake(monkeypatch, tmp_path):
    fake = FakeHub(tmp_path / "hub")
    for name in ("HfApi", "hf_hub_download", "scan_cache_dir"):
        monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
    return fake


def same(first, second):
    mine, theirs = first.state_dict(), second.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["skill-embed", *arguments])
    cli.main()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf:me/skills", ("me/skills", None)),
        ("me/lwall_skills.v2", ("me/lwall_skills.v2", None)),
        ("hf:me/skills@v1.0", ("me/skills", "v1.0")),
        ("hf:me/skills@refs/pr/1", ("me/skills", "refs/pr/1")),
    ],
)
def test_names(name, parts):
    assert hub.parse(name) == parts and hub.parse(str(hub.parse(name))) == parts


@pytest.mark.parametrize(
    "name",
    [
        *("hf:", "hf:skills", "hf:me/", "hf:/skills", "hf:me/skills/more", "hf:../skills", "hf:me/..", "hf:me/a..b"),
        *("hf:me/skills@", "hf:me/skills@../main", "hf:me/a--b", "hf:me/skills@-x", "hf:me/ski lls", "hf:me/skills\n"),
        *("hf:me/skills@a b", "hf:-me/skills", "hf:me/.skills", f"hf:me/{'a' * 97}", "hf:me\\x/skills", "hf:mé/skills"),
    ],
)
def test_names_that_are_none(fake, name):
    with pytest.raises(ValueError, match=r"is no name on the Hugging Face Hub.*hf:owner/name"):
        load_skills(name)


def test_what_was_pushed_is_loaded(fake):
    skills, policy = load_skills("lwall"), load_policy("lwall")
    assert push_to_hub(skills, "me/skills") == "https://huggingface.co/me/skills"
    assert fake.token is None
    assert push_to_hub(policy, "me/policy", token="hf_x", private=True) == "https://huggingface.co/me/policy"
    assert fake.private == {"me/skills": False, "me/policy": True} and fake.token == "hf_x"
    loaded = load_skills("hf:me/skills@v1")
    assert same(loaded, skills) and loaded.origin == skills.origin
    assert load_policy("hf:me/policy").hold == policy.hold
    # The commit whose sizes were looked at is the one that is fetched.
    assert fake.fetched == [
        ("me/skills", "skills.safetensors", "sha-of-v1"),
        ("me/policy", "policy.safetensors", "sha-of-None"),
    ]
    assert {path.name for path in (fake.folder / "me/skills").iterdir()} == {"README.md", "skills.safetensors"}


def test_a_model_learns_on_from_skills_of_the_hub(fake):
    push_to_hub("pointmass", "me/skills")
    env = make_skill_vec_env("SkillEmbed/PointMassDuplicate-v0", 2, seed=0)
    model = SkillEmbedding.load("hf:me/skills", env=env, device="cpu")
    assert torch.equal(model.policy.embedding.table, load_skills("pointmass").embedding.table)


def test_a_file_is_pushed_as_it_is(fake):
    push_to_hub("lwall", "me/skills", record=RECORD, license="mit")
    assert (fake.folder / "me/skills/skills.safetensors").read_bytes() == LWALL.read_bytes()
    with pytest.raises(FileExistsError, match=r"hf:me/skills has a skills\.safetensors already"):
        push_to_hub(LWALL, "me/skills")
    push_to_hub(LWALL, "me/skills", force=True)


def test_the_card_has_the_numbers_of_the_record(fake, tmp_path):
    push_to_hub("lwall", "me/policy", kind="policy", record=RECORD, license="mit")
    card = (fake.folder / "me/policy/README.md").read_text()
    head, body = card.split("---\n")[1:]
    assert "license: mit\n" in head and "library_name: skill-embed\n" in head
    assert "| LWall | 100% | 76.4 |" in body and "512,000 steps of SkillEmbed/LWall-v0" in body
    assert "seed 0" in body and "100 episodes of each task" in body and "torch 2." in body
    assert 'load_policy("hf:me/policy")' in body and "| z is held | 5 steps |" in body
    skills = load_skills("lwall")
    assert "No record was given." in publishing.card(skills, "me/skills")
    code = publishing.card(skills, "me/skills").split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")

    evaluation = {
        "tasks": [{"task": "Push", "success": 0.5, "return": 12.345, "returns": []}],
        "episodes": 7,
        "seed": 1,
    }
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(evaluation))
    assert "| Push | 50% | 12.35 |" in publishing.card(skills, "a/b", publishing.read_record(path))
    own = {"env_id": "Pendulum-v1", "final": {"tasks": ["a|b <i>"], "return": [-3.0]}, "seed": 0}
    assert "| a\\|b \\<i\\> | not told | -3 |" in publishing.card(skills, "a/b", own)
    for wrong in ("[]", "{}", "no JSON", '{"final": 3}'):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"is neither a run's record\.json nor"):
            publishing.read_record(path)
    with pytest.raises(ValueError, match="license='mit\\\\nx: y'"):
        publishing.card(skills, "a/b", license="mit\nx: y")


def test_what_is_pushed_has_been_checked(fake, tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(LWALL.read_bytes()[:-1])
    with pytest.raises(SkillsFileError, match="bad"):
        push_to_hub(bad, "me/bad")
    with pytest.raises(FileNotFoundError):
        push_to_hub(tmp_path / "none.safetensors", "me/bad")
    with pytest.raises(ValueError, match="with a revision"):
        push_to_hub("lwall", "me/bad@v1")
    with pytest.raises(ValueError, match="kind='model'"):
        push_to_hub("lwall", "me/bad", kind="model")
    for what in (3, "hf:me/skills"):
        with pytest.raises(ValueError, match="give networks, a file or a shipped name"):
            push_to_hub(what, "me/bad")
    assert not fake.folder.exists()


def test_a_strangers_file_passes_all_checks(fake, tmp_path):
    push_to_hub("lwall", "me/skills")
    file = fake.folder / "me/skills/skills.safetensors"
    forge(LWALL, file, lambda description: description["config"].update(embedding_dim=10**9))
    with pytest.raises(SkillsFileError, match="embedding_dim=1000000000"):
        load_skills("hf:me/skills")
    file.write_bytes(LWALL.read_bytes()[:-4])
    with pytest.raises(SkillsFileError, match="is not a whole safetensors file"):
        load_skills("hf:me/skills")


@pytest.mark.parametrize(("size", "said"), [(257 * 2**20, "269,484,032 bytes"), (None, "no known size")])
def test_a_file_too_large_is_not_fetched(fake, size, said):
    push_to_hub("lwall", "me/skills")
    fake.sizes["skills.safetensors"] = size
    with pytest.raises(SkillsFileError, match=rf"hf:me/skills: skills\.safetensors has {said}"):
        load_skills("hf:me/skills")
    assert fake.fetched == []


def test_what_is_not_there_is_named(fake):
    push_to_hub("lwall", "me/skills")
    with pytest.raises(FileNotFoundError, match=r"hf:me/other is not on the Hugging Face Hub"):
        load_skills("hf:me/other")
    with pytest.raises(FileNotFoundError, match=r"hf:me/skills@v9 is not on"):
        load_skills("hf:me/skills@v9")
    with pytest.raises(FileNotFoundError, match=r"has no policy\.safetensors.*'skills\.safetensors'"):
        load_policy("hf:me/skills")


def test_without_a_network_the_file_that_was_fetched_is_taken(fake):
    push_to_hub("lwall", "me/skills")
    fake.online = False
    with pytest.raises(OSError, match=r"can't be fetched, and was not fetched before: no network$"):
        load_skills("hf:me/skills")
    fake.online = True
    load_skills("hf:me/skills")
    fake.online = False
    load_skills("hf:me/skills")
    load_skills("hf:me/skills@sha-of-None")
    with pytest.raises(OSError, match=r"hf:me/skills@v1 can't be fetched"):  # nothing says what v1 stands for
        load_skills("hf:me/skills@v1")


def test_the_command_pushes_a_run_with_its_record(fake, monkeypatch, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "skills.safetensors").write_bytes(LWALL.read_bytes())
    record = {"env_id": "SkillEmbed/LWallPretrain-v0", "seed": 3, "final": {"success": [0.875, 1.0], "return": None}}
    (run / "record.json").write_text(json.dumps(record))
    command(monkeypatch, "push", "me/skills", "--skills", str(run))
    assert "load_skills('hf:me/skills')" in capsys.readouterr().out
    card = (fake.folder / "me/skills/README.md").read_text()
    assert "| Push | 88% | not kept |" in card and "| Lift | 100% | not kept |" in card
    for arguments, said in (
        (("me/skills", "--skills", str(run)), "force to replace it"),
        (("me", "--skills", "lwall"), "is no name on the Hugging Face Hub"),
        (("me/x",), "give one of --skills and --policy"),
        (("me/x", "--skills", "lwal"), "lwal is neither"),
    ):
        with pytest.raises(SystemExit, match=said):
            command(monkeypatch, "push", *arguments)


def test_the_extra_is_named_where_the_client_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(sys, "argv", ["skill-embed", "evaluate", "SkillEmbed/LWall-v0", "--policy", "hf:me/policy"])
    with pytest.raises(SystemExit, match=r"huggingface_hub.*not installed: pip install"):
        cli.main()


def test_the_fake_is_called_as_the_client_is():
    client = huggingface_hub.HfApi
    for called, arguments in (
        (client.model_info, {"repo_id": "a/b", "revision": None, "files_metadata": True}),
        (client.create_repo, {"repo_id": "a/b", "private": True, "exist_ok": True}),
        (client.file_exists, {"repo_id": "a/b", "filename": "c"}),
        (client.upload_folder, dict.fromkeys(("repo_id", "folder_path", "allow_patterns", "commit_message"))),
        (huggingface_hub.scan_cache_dir, {}),
        (huggingface_hub.hf_hub_download, {"repo_id": "a/b", "filename": "c", "revision": None}),
    ):
        signature = inspect.signature(called)
        me = {"self": None} if "self" in signature.parameters else {}
        signature.bind(**me, **arguments)
    assert list(inspect.signature(client.model_info).parameters)[1] == "repo_id"


def test_the_page_shows_what_works(fake):
    text = (ROOT / "docs/checkpoints.md").read_text(encoding="utf-8").split("### By the Hugging Face Hub")[1]
    push_to_hub("lwall", "OWNER/lwall-skills")
    push_to_hub("lwall", "OWNER/lwall-policy", kind="policy")
    names = {}
    exec(compile(text.split("```python\n")[1].split("```")[0], "checkpoints", "exec"), names)
    assert same(names["skills"], load_skills("lwall")) and names["policy"].hold == 5


class Server(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as the real client needs to fetch one file."""

    sha, asked = "a" * 40, []

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        Server.asked.append(self.path)
        path = self.path.partition("?")[0]
        data, status = LWALL.read_bytes(), 200
        headers = {"ETag": '"abc"', "X-Repo-Commit": self.sha, "Content-Type": "application/octet-stream"}
        if path in ("/api/models/me/skills", "/api/models/me/skills/revision/v1"):
            listed = [{"rfilename": "skills.safetensors", "size": len(data)}]
            about = {"id": "me/skills", "sha": self.sha, "siblings": listed, "private": False, "tags": []}
            data, headers["Content-Type"] = json.dumps(about).encode(), "application/json"
        elif path != f"/me/skills/resolve/{self.sha}/skills.safetensors":
            data, status, headers["X-Error-Code"] = b"", 404, "RepoNotFound"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(data)}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


def load_elsewhere(endpoint, home, names):
    """What a process prints that loads skills: the client reads the address of the Hub when it is imported."""
    code = (
        "import sys\nfrom skill_agent import load_skills\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(load_skills(name).embedding_distribution.dim)\n"
        "    except OSError as error: print(type(error).__name__, error)\n"
    )
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    options = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    environment = {**kept, **options, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *names], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_real_client_fetches_from_a_server_and_finds_it_again_without(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        found = load_elsewhere(endpoint, tmp_path, ["hf:me/skills", "hf:me/skills@v1", "hf:me/other"])
        server.shutdown()
    assert found[:2] == ["3", "3"]
    assert found[2].startswith("FileNotFoundError hf:me/other is not on the Hugging Face Hub")
    assert any("resolve" in path for path in Server.asked)
    assert list(tmp_path.rglob("skills.safetensors"))
    # The server is gone.
    names = ["hf:me/skills", f"hf:me/skills@{Server.sha}", "hf:me/skills@v1", "hf:me/other"]
    found = load_elsewhere(endpoint, tmp_path, names)
    assert found[:2] == ["3", "3"] and all("can't be fetched" in line for line in found[2:])


@pytest.mark.parametrize("value", [42, 1.5, b"mine/skills", ["mine/skills"], object()])
@pytest.mark.parametrize("name", ["repository", "record", "license", "private", "force", "token", "kind", "what"])
def test_an_argument_of_another_kind_is_named(fake, name, value):
    with pytest.raises(ValueError, match=name):
        push_to_hub(**{"what": "pointmass", "repository": "mine/skills", name: value})
    assert not list(fake.folder.rglob("*.safetensors"))
