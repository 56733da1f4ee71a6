"""The commands that need neither root nor namespaces, called as a user calls them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from muslin.cli import main
from muslin.cli.clusters import _fresh_log

ROOT = Path(__file__).parents[2]
SHOP = Path("scenarios/manifests/shop.yaml")
LOCK = Path("docs/examples/db-from-api-only.yaml")
ASK = ("--from", "shop/web", "--to", "shop/db", "--port", "5432/TCP")


class Answer:
    """What a command said."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture
def muslin(monkeypatch, capsys):
    """The command, called in this process, in the project's folder."""
    monkeypatch.chdir(ROOT)

    def run(*arguments, input=""):
        monkeypatch.setattr("sys.argv", ["muslin", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.StringIO(input))
        with pytest.raises(SystemExit) as exit:
            main()
        return Answer(exit.value.code, *capsys.readouterr())

    return run


def test_evaluate_says_verdict_and_walk(muslin):
    """The answer is on standard output, the last line is the verdict, and a denial is no failure of the command."""
    answer = muslin("evaluate", "-f", SHOP, "-f", LOCK, *ASK)
    assert (answer.code, answer.err) == (0, "")
    assert "np:shop/db" in answer.out
    assert answer.out.strip().splitlines()[-1].startswith("DENIED: ")


def test_evaluate_takes_more_paths_after_f(muslin):
    """A shell's glob after -f is welcome."""
    assert "DENIED" in muslin("evaluate", *ASK, "-f", SHOP, LOCK).out
    assert "DENIED" in muslin("evaluate", *ASK, "--filename", SHOP.parent, LOCK).out


@pytest.mark.parametrize(("files", "code"), [((SHOP,), 0), ((SHOP, LOCK), 1)])
def test_evaluate_exit_code_when_asked(muslin, files, code):
    """With --exit-code a denial is 1."""
    assert muslin("evaluate", "--exit-code", *ASK, "-f", *files).code == code


def test_evaluate_json(muslin):
    """--json is one JSON document: verdict, packet, and each side with its hits."""
    answer = muslin("evaluate", "-f", SHOP, LOCK, *ASK, "--json")
    assert answer.err == ""
    value = answer.json
    assert value["allowed"] is False
    assert value["packet"]["destination_port"] == 5432
    assert value["sides"][-1]["hits"] == ["0|default|np:shop/db|deny|-1"]
    assert (value["source"], value["destination"]) == ("shop/web", "shop/db")


def test_evaluate_family_and_icmp(muslin):
    """--family chooses the addresses; ICMP is the family's own."""
    four = muslin("evaluate", "-f", SHOP, *ASK[:4], "--port", "icmp", "--family", "4", "--json").json["packet"]
    six = muslin("evaluate", "-f", SHOP, *ASK[:4], "--port", "ICMP", "--family", "6", "--json").json["packet"]
    assert (four["protocol"], ":" in four["source"]) == (1, False)
    assert (six["protocol"], ":" in six["source"]) == (58, True)


@pytest.mark.parametrize("command", [("evaluate", *ASK), ("matrix",)])
def test_manifests_on_standard_input(muslin, command):
    """`-f -` reads standard input, beside files."""
    piped = muslin(*command, "-f", "-", LOCK, input=SHOP.read_text())
    assert piped.code == 0
    assert piped.out == muslin(*command, "-f", SHOP, LOCK).out


def test_matrix(muslin):
    """A row per pod, a letter per destination, a block per port."""
    answer = muslin("matrix", "-f", SHOP, LOCK, "--port", "80/TCP", "--port", "5432/TCP")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert "80/TCP" in lines
    assert "5432/TCP" in lines
    rows = [line.split() for line in lines if line.strip().startswith("shop/web")]
    assert [row[-1] for row in rows] == ["..X.", "..X."]


def test_matrix_json(muslin):
    """--json has the names, the ports and a cell for each."""
    value = muslin("matrix", "-f", SHOP, LOCK, "--port", "5432/TCP", "--json").json
    assert "shop/web" in json.dumps(value)
    assert "5432/TCP" in json.dumps(value)


def test_check_counts_what_is_fine(muslin):
    """Manifests and scenarios, files and folders."""
    answer = muslin("check", SHOP, "scenarios/default-deny.yaml")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "2 files are fine (6 resources, 1 scenario)\n"
    assert muslin("check", "scenarios").code == 0


def test_check_says_every_wrong_file(muslin, tmp_path):
    """Each wrong file is a line on standard error with file, line and field; the right ones are still counted."""
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: Pod\nmetadata: {nmae: x}\n")
    (tmp_path / "b.yml").write_text("a: [\n")
    (tmp_path / "c.yaml").write_text("lesson: x\nexpct: []\n")
    (tmp_path / "d.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}')
    (tmp_path / "e.txt").write_text("not looked at")
    answer = muslin("check", tmp_path)
    assert answer.code == 2
    assert [line.split(": ")[0] for line in answer.err.splitlines()] == [
        f"{tmp_path}/a.yaml:3", f"{tmp_path}/b.yml:2", f"{tmp_path}/c.yaml:2",
    ]  # fmt: skip
    assert answer.out == "3 of 4 files are wrong (1 resource, 0 scenarios)\n"
    value = muslin("check", tmp_path, "--json").json
    assert [Path(error["file"]).name for error in value["errors"]] == ["a.yaml", "b.yml", "c.yaml"]
    assert (value["files"], value["resources"]) == (4, 1)


def test_check_reads_standard_input(muslin):
    """`muslin check -` checks what is piped into it."""
    fine = muslin("check", "-", input=SHOP.read_text())
    assert (fine.code, fine.out) == (0, "1 file is fine (6 resources, 0 scenarios)\n")
    wrong = muslin("check", "-", input="kind: Pod\n")
    assert wrong.code == 2
    assert wrong.err.startswith("<stdin>:1: ")


WRONG = [
    # arguments                                                       what is said
    (("evaluate", "-f", "nowhere", *ASK), "nowhere: no such file or directory"),
    (("evaluate", "-f", "docs", *ASK[:4]), ""),
    (("evaluate", "-f", SHOP, "--from", "shop/wbe", "--to", "shop/db"), "did you mean"),
    (("evaluate", "-f", SHOP, "--from", "shop/web", "--to", "300.1.1.1"), "no pod, node, host or address '300.1.1.1'"),
    (("evaluate", "-f", SHOP, "--from", "shop/web", "--to", "shop/db", "--port", "http"), "'http' is not known"),
    (("evaluate", "-f", SHOP, "--from", "shop/web", "--to", "shop/db", "--port", "99999"), "port '99999'"),
    (("evaluate", "-f", SHOP, "--from", "shop/web", "--to", "8.8.8.8", "--family", "6"), "no IPv6 between"),
    (("evaluate", "-f", SHOP, "--from", "shop/web"), "evaluate: missing option '--to'; see: muslin evaluate --help"),
    (("evaluate", "--from", "a", "--to", "b"), "missing option '-f' / '--filename'"),
    (("evaluate", "-f", SHOP, *ASK, "--family", "5"), "invalid value for '--family'"),
    (("evaluate", "-f", SHOP, *ASK, "--prot", "1"), "id you mean"),
    (("matrix",), "missing option '-f' / '--filename'"),
    (("matrix", "-f", SHOP, "--port", "0/TCP"), "port '0/TCP'"),
    (("matrix", "-f", "README.md"), "README.md"),
    (("check",), "missing argument 'PATH...'"),
    (("check", "nowhere"), "nowhere: there is no such file or folder"),
    (("check", "docs/examples", "nowhere"), "nowhere: there is no such file or folder"),
    (("check", "tests/reports"), "no .yaml, .yml or .json file"),
    (("verify",), "missing argument 'SCENARIO...'"),
    (("verify", "nowhere.yaml"), "nowhere.yaml: no such file or directory"),
    (("verify", SHOP), "a scenario file holds one document"),
    (("verify", LOCK), "apiVersion: unknown field"),
    (("verify", "docs"), "there is no scenario"),
    (("verify", "scenarios/default-deny.yaml", "--dataplane", "nft"), "'nft' is not known; there "),
    (("up", "--nodes", "0"), "0 nodes: a cluster has 1 to 100"),
    (("up", "--nodes", "many"), "'many' is not a valid integer"),
    (("up", "--name", "No Good"), "cluster name 'No Good'"),
    (("up", "--name", "t-none", "--topology", "torus"), "'torus' is not known"),
    (("up", "--name", "t-none", "--dataplane", "magic"), "'magic' is not known"),
    (("up", "--encryption", "rot13"), "'rot13' is not 'wireguard'"),
    (("up", "-f", "nowhere"), "nowhere: no such file or directory"),
    (("apply", "-f", "nowhere"), "nowhere: no such file or directory"),
    (("delete", "-f", "nowhere"), "nowhere: no such file or directory"),
    (("get", "potatoes"), "potatoes"),
    (("get", "pods", "--name", "t-nobody"), "no cluster is named 't-nobody'"),
    (("down", "t-nobody"), "no cluster is named 't-nobody'"),
    (("exec", "--name", "t-nobody", "shop/web", "--", "true"), "no cluster is named 't-nobody'"),
    (("exec", "shop/web"), "missing argument"),
    (("probe", "a", "b", "80/TPC"), "TPC"),
    (("explain", "a"), "missing argument"),
    (("log", "nowhere.db"), "there is no event log at nowhere.db"),
    (("log", "--name", "t-nobody"), "no cluster is named 't-nobody'"),
    (("replay", "nowhere.db"), "there is no event log at nowhere.db"),
    (("replay", "README.md", "--at", "soon"), "'soon' is not a valid integer"),
    (("fuzz", "--time", "soon"), "'soon' is not a valid float"),
    (("fuzz", "--dataplane", "ipfw"), "--dataplane 'ipfw' is not known; there is all, ebpf, iptables, "),
    (("fuzz", "--dataplane", "ebpf", "--no-kernel"), "--dataplane and --no-kernel contradict each other"),
    (("completion", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    (("evalute",), "no command is named 'evalute'; did you mean 'evaluate'?"),
    (("frobnicate",), "no command is named 'frobnicate'; see: muslin --help"),
    (("--frobnicate",), "--frobnicate"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"), WRONG, ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else ""
)
def test_wrong_input_is_one_line_and_exit_code_2(muslin, arguments, says):
    """Whatever is wrong: one line on standard error, nothing on standard output, no stack trace, exit code 2."""
    answer = muslin(*arguments)
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1, answer.err
    assert answer.err.startswith("muslin")
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_a_damaged_log_is_said_in_one_line(muslin, tmp_path):
    """A file that is no event log is no bad input but a damaged log: exit code 1."""
    file = tmp_path / "saved.db"
    file.write_text("hello")
    for command in ("log", "replay"):
        answer = muslin(command, file)
        assert (answer.code, answer.out) == (1, "")
        assert len(answer.err.splitlines()) == 1
        assert str(file) in answer.err


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """`muslin matrix | head -1` ends quietly."""
    pods = "---\n".join(
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: p{n}}}, spec: {{containers: [{{name: c, image: i}}]}}}}\n"
        for n in range(300)
    )
    (tmp_path / "pods.yaml").write_text(pods)
    line = f"{sys.executable} -m muslin matrix -f {tmp_path}/pods.yaml | head -1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "destinations, from left to right:\n"
    assert done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(muslin, shell):
    """The script is for that shell and calls our command."""
    answer = muslin("completion", shell)
    assert answer.code == 0
    assert f"_MUSLIN_COMPLETE={shell}_complete" in answer.out


def test_version(muslin):
    """--version says the version."""
    answer = muslin("--version")
    assert answer.code == 0
    assert answer.out.startswith("muslin, version ")


def test_a_fault_of_ours_is_one_line_too(muslin, monkeypatch):
    """A bug says that it is one, exits with none of the four codes, and shows its trace when asked."""
    monkeypatch.setattr("muslin.cli.sources.load", lambda _: 1 / 0)
    answer = muslin("matrix", "-f", SHOP)
    assert (answer.code, answer.out) == (70, "")
    assert len(answer.err.splitlines()) == 1
    assert "MUSLIN_DEBUG=1" in answer.err
    monkeypatch.setenv("MUSLIN_DEBUG", "1")
    monkeypatch.setattr("sys.argv", ["muslin", "matrix", "-f", str(SHOP)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_the_log_of_the_last_cluster_is_kept_with_its_journal(tmp_path, monkeypatch):
    """A new cluster's log takes the place of the last one's, which is kept beside it; an older journal goes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "muslin"
    folder.mkdir()
    for name, text in (("a.db", "last"), ("a.previous.db", "older"), ("a.previous.db-journal", "older journal")):
        (folder / name).write_text(text)
    assert _fresh_log("a") == folder / "a.db"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a.previous.db": "last"}
    for name, text in (("a.db", "new"), ("a.db-journal", "new journal")):
        (folder / name).write_text(text)
    _fresh_log("a")
    kept = {"a.previous.db": "new", "a.previous.db-journal": "new journal"}
    assert {path.name: path.read_text() for path in folder.iterdir()} == kept


def test_a_wrong_option_leaves_the_last_log_alone(muslin, tmp_path, monkeypatch):
    """Nothing is moved for a cluster that cannot be."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "muslin").mkdir()
    log = tmp_path / "muslin" / "t-none.db"
    log.write_text("last")
    for wrong in (("--topology", "torus"), ("--dataplane", "magic"), ("--nodes", "0"), ("-f", "nowhere")):
        assert muslin("up", "--name", "t-none", *wrong).code == 2
        assert log.read_text() == "last"


@pytest.mark.live  # giving privileges away takes root
def test_offline_commands_need_no_privilege(as_user):
    """As an ordinary user without any capability they answer as they do for root."""
    for arguments in (("evaluate", "-f", SHOP, LOCK, *ASK), ("matrix", "-f", SHOP), ("check", "scenarios")):
        command = as_user([sys.executable, "-B", "-m", "muslin", *map(str, arguments)])
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
