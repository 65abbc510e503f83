"""Runs inside an engine's root file system: turns a GGUF file into the directory that vLLM serves."""

import sys
from pathlib import Path

import torch  # type: ignore[import-not-found] # only the image has it
from transformers import (  # type: ignore[import-not-found] # only the image has it
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
)


def main(source: Path, target: Path) -> None:
    """Write weights as bfloat16 safetensors, configuration, tokenizer and chat template."""
    where = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **where)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent, **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.config._name_or_path = ""  # noqa: SLF001 - it would keep the path of the build
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
