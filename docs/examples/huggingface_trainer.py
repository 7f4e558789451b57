"""A LLaMA on links in the Trainer of Hugging Face: ``python huggingface_trainer.py OUT [STEPS]``.

Kill it whenever you like. Started again, it goes on after the last checkpoint and ends with the same bits.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, TrainingArguments

import sparsecore as sc
from sparsecore.integrations.pretrained import from_pretrained
from sparsecore.integrations.transformers import EvolutionCallback, SparseTrainer, last_checkpoint


def sparse_llama() -> torch.nn.Module:
    """Return a small LLaMA of which every linear layer but the head is links."""
    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, use_cache=False
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    return sc.sparsify(model, density=0.2, topology=sc.generators.BRF(r=0.25), seed=0)


def sequences() -> list[dict[str, torch.Tensor]]:
    """Return 256 sequences in which every token follows from the one before it."""
    starts = torch.randint(64, (256, 1), generator=torch.Generator().manual_seed(1))
    ids = (starts + 5 * torch.arange(16)) % 64
    return [{"input_ids": row, "labels": row} for row in ids]


def main(out: Path, steps: int) -> None:
    """Train, go on where a killed run stopped, save the model and read it back."""
    arguments = TrainingArguments(
        str(out / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        save_steps=10,
        save_total_limit=2,
        logging_steps=10,
        report_to=[],
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    evolution = EvolutionCallback(sc.CHTs, every=10, zeta=0.1, preset="llama")
    trainer = SparseTrainer(sparse_llama(), arguments, train_dataset=sequences(), callbacks=[evolution])
    trainer.train(resume_from_checkpoint=last_checkpoint(out / "checkpoints"))
    trainer.save_model(str(out / "model"))

    model = from_pretrained(AutoModelForCausalLM, out / "model")  # links from disk, never dense
    ids = sequences()[0]["input_ids"][None]
    same = torch.equal(model(ids).logits, trainer.model.eval()(ids).logits)
    sys.stdout.write(f"{evolution.evolution}\nread back from disk, same outputs: {same}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
