"""Each reader's own code, on the files of one folder of exports.

    PYTHONPATH=FOLDERS python3 readers.py READER EXPORTS

prints a line of JSON: the rows that were read, and those that were refused with the reason. A
reader that cannot be imported is an exit code of 3 and a word on what is missing.
"""

import contextlib
import copy
import json
import math
import pathlib
import sys

READ, REFUSED = {}, []


@contextlib.contextmanager
def row(path, number):
    """What is done with one row; an error is a refusal of that row."""
    try:
        yield
        READ[path.name] = READ.get(path.name, 0) + 1
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        REFUSED.append(f"{path.name}:{number}: {reason[:500]}")


def lines(exports, name):
    """The rows of a file of lines, each with the guard that it is read under."""
    path = exports / f"{name}.jsonl"
    if path.exists():
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield row(path, number), json.loads(line)


def byte_tokenizer():
    """A tokenizer that needs no download: a token a byte, and one for each special word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("ки", normalized=False)])
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        chat_template=template + "{% if add_generation_prompt %}<assistant>{% endif %}",
    )


def small_model(kind, tokenizer, **more):
    """A model of one layer, to have a real trainer take a step."""
    from transformers import LlamaConfig

    return kind(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=1 << 15,
        pad_token_id=tokenizer.pad_token_id, **more,
    ))


def trains(trainer):
    assert math.isfinite(trainer.train().training_loss), "the loss is no number"


def trl(exports):
    """Tokenises as TRL's two trainers do, and has each take two steps."""
    from datasets import load_dataset
    from transformers import LlamaForCausalLM, LlamaForTokenClassification
    from trl import DPOConfig, DPOTrainer
    from trl.experimental.prm import PRMConfig, PRMTrainer

    tokenizer = byte_tokenizer()
    plain = {"max_steps": 2, "per_device_train_batch_size": 1, "use_cpu": True, "bf16": False,
             "report_to": [], "save_strategy": "no", "disable_tqdm": True, "max_length": None,
             "gradient_checkpointing": False, "output_dir": str(exports)}
    cache = str(exports / "trl-cache")
    load = lambda path: load_dataset("json", data_files=str(path), cache_dir=cache)["train"]
    for guard, each in lines(exports, "trl"):
        with guard:
            tokenised = PRMTrainer.tokenize_row(each, tokenizer, "\n", None, None, False, False)
            said = [label for label in tokenised["labels"] if label != -100]
            assert said == [int(label) for label in each["labels"]], "labels were lost"
    for guard, each in lines(exports, "pairs"):
        with guard:
            assert each["chosen_label"] > each["rejected_label"], "the better one is not chosen"
    if (path := exports / "trl.jsonl").exists():
        with row(path, "all"):
            data = load(path).select_columns(["prompt", "completions", "labels"])
            model = small_model(LlamaForTokenClassification, tokenizer, num_labels=2)
            trains(PRMTrainer(model, PRMConfig(**plain), train_dataset=data,
                              processing_class=tokenizer))
    if (path := exports / "pairs.jsonl").exists():
        with row(path, "all"):
            data = load(path).select_columns(["prompt", "chosen", "rejected"])
            model = small_model(LlamaForCausalLM, tokenizer)
            trains(DPOTrainer(model, copy.deepcopy(model), DPOConfig(**plain),
                              train_dataset=data, processing_class=tokenizer))


def verl(exports):
    """Its data set reads the file; its own GRPO makes our advantages of our rewards."""
    import numpy
    import torch
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
    from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
    from verl.utils.dataset import RLHFDataset

    path = exports / "verl.parquet"
    if not path.exists():
        return
    config = OmegaConf.create({"max_prompt_length": 1 << 15, "return_raw_chat": True,
                               "cache_dir": str(exports / "verl-cache")})
    rows = list(RLHFDataset(str(path), byte_tokenizer(), config))
    uids = [each["uid"] for each in rows]
    long = max(len(each["response_ids"]) for each in rows)
    pad = lambda values: values + [0] * (long - len(values))
    padded = lambda name: torch.tensor([pad(each[name]) for each in rows]).float()
    rewards, mask = padded("token_level_rewards"), padded("response_mask")
    expected, _ = compute_grpo_outcome_advantage(rewards, mask, numpy.array(uids))
    ours = padded("advantages") * mask
    for number, each in enumerate(rows, 1):
        with row(path, number):
            fields = {key: each[key] for key in AgentLoopOutput.model_fields if key in each}
            output = AgentLoopOutput(metrics=AgentLoopMetrics(), **fields).as_dict()
            lists = ("prompts", "responses", "response_mask", "rollout_log_probs")
            lengths = {len(output[key]) for key in lists[1:]}
            assert len(output["prompts"]) == len(each["prompt_ids"]), "the prompt was lost"
            assert lengths == {len(each["token_level_rewards"])}, "lists differ in length"
            # It leaves a group of one as it is, where we say 0: there is nothing to compare.
            if uids.count(each["uid"]) > 1:
                one, two = ours[number - 1], expected[number - 1]
                torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def skyrl(exports):
    """Its validation, and its tensors of a batch."""
    import typing

    import typing_extensions

    # It declares Python 3.11, where pydantic refuses the typed dictionaries it uses.
    typing.TypedDict = typing_extensions.TypedDict
    from skyrl.train.dataset.preprocess import convert_prompts_responses_to_batch_tensors
    from skyrl.train.generators.base import TrajectoryID
    from skyrl.train.utils.trainer_utils import validate_generator_output

    tokenizer = byte_tokenizer()
    for guard, each in lines(exports, "skyrl"):
        with guard:
            each.pop("plumbline")
            each["trajectory_ids"] = [TrajectoryID(**of) for of in each["trajectory_ids"]]
            validate_generator_output(len(each["response_ids"]), each)
            batch = convert_prompts_responses_to_batch_tensors(
                tokenizer, each["prompt_token_ids"], each["response_ids"], each["rewards"],
                each["loss_masks"], each["rollout_logprobs"],
            )
            total = sum(map(sum, each["rewards"]))
            assert abs(batch[3].sum().item() - total) < 1e-4, "rewards were lost"


def verifiers(exports):
    """Reads each trace, and the tokens, masks and credit along its branch."""
    from verifiers.v1 import WireTrace

    for guard, each in lines(exports, "verifiers"):
        with guard:
            trace = WireTrace.model_validate(each)
            (branch,) = trace.branches
            ids = [token for node in each["nodes"] for token in node["token_ids"]]
            assert list(branch.token_ids) == ids, "its tokens are not what the model saw"
            lengths = {len(branch.sampled_mask), len(branch.logprobs), len(branch.advantages)}
            assert lengths == {len(ids)}, "lists differ in length"
            assert abs(trace.reward - sum(each["info"]["step_rewards"])) < 1e-9, "another reward"


def atropos(exports):
    """Its server takes each group, and hands all of them out again as a batch."""
    from atroposlib.api import app
    from fastapi.testclient import TestClient

    rows = list(lines(exports, "atropos"))
    sequences = sum(len(each["tokens"]) for _, each in rows)
    if not rows:
        return
    server = TestClient(app)
    server.post("/register", json={
        "wandb_group": "", "wandb_project": "", "batch_size": sequences,
        "max_token_len": 1 << 15, "checkpoint_dir": "", "save_checkpoint_interval": 0,
        "starting_step": 0, "num_steps": 1,
    }).raise_for_status()
    assert server.get("/batch").json()["batch"] is None
    for guard, each in rows:
        with guard:
            answer = server.post("/scored_data", json=each)
            assert answer.status_code == 200, answer.text
            for tokens, masks in zip(each["tokens"], each["masks"], strict=True):
                paired = zip(tokens, masks, strict=True)
                assert all(mask in (-100, token) for token, mask in paired), "a mask is amiss"
    with row(exports / "atropos.jsonl", "all"):
        batch = server.get("/batch").json()["batch"]
        assert sum(len(group["tokens"]) for group in batch) == sequences, "groups were lost"


def harbor(exports):
    """Its model of ATIF."""
    from harbor.models.trajectories import Trajectory

    for guard, each in lines(exports, "atif"):
        with guard:
            trajectory = Trajectory.model_validate(each)
            assert trajectory.agent.tool_definitions, "the tools are not told"
            assert len(trajectory.steps) == len(each["steps"]), "steps were lost"


def openrlhf(exports):
    """Its data set of process rewards: a label at each separator."""
    from types import SimpleNamespace

    from openrlhf.datasets import ProcessRewardDataset

    found = list(lines(exports, "openrlhf"))
    tokenizer = byte_tokenizer()
    args = SimpleNamespace(input_key="input", label_key="label", placeholder_token="ки",
                           reward_tokens=["+", "-"])
    data = {key: [each[key] for _, each in found] for key in ("input", "label")}
    data = ProcessRewardDataset(data, tokenizer, 1 << 20, SimpleNamespace(args=args))
    for number, (guard, each) in enumerate(found):
        with guard:
            labels = [label for label in data[number][2][0].tolist() if label != -100]
            assert tokenizer.convert_ids_to_tokens(labels) == each["label"], "labels were lost"


def datasets(exports):
    """Loads every file of lines as one table."""
    from datasets import load_dataset

    for path in sorted(exports.glob("*.jsonl")):
        with row(path, "all"):
            cache = str(exports / "datasets-cache")
            table = load_dataset("json", data_files=str(path), cache_dir=cache)["train"]
            with open(path, encoding="utf-8") as file:
                assert len(table) == sum(1 for _ in file), "rows were lost"


def pyarrow(exports):
    """Reads every table, and finds the step of every verdict."""
    import pyarrow.parquet as parquet

    for path in sorted(exports.glob("*.parquet")):
        with row(path, "all"):
            table = parquet.read_table(path)
            table.validate(full=True)
            assert table.num_rows > 0, "it is empty"
    place = lambda name: parquet.read_table(exports / name, columns=["task", "node"]).to_pylist()
    steps = {tuple(each.values()) for each in place("steps.parquet")}
    for number, each in enumerate(place("verdicts.parquet"), 1):
        with row(exports / "verdicts.parquet", number):
            assert tuple(each.values()) in steps, "of no step"


READERS = [trl, verl, skyrl, verifiers, atropos, harbor, openrlhf, datasets, pyarrow]


def main():
    name, exports = sys.argv[1], pathlib.Path(sys.argv[2])
    reader = {reader.__name__: reader for reader in READERS}[name]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            reader(exports)
    except ImportError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(3)
    print(json.dumps({"read": READ, "refused": REFUSED}))


if __name__ == "__main__":
    main()
