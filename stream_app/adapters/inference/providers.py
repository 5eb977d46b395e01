"""Which execution provider to ask ONNX Runtime for, and whether it gave that one: a choice in, a checked list out.

ONNX Runtime falls back to the CPU with nothing but a log line, and still lists CUDA as available. So: a provider that
was asked for by name is required; ``auto`` takes the best that is here and says which. ``auto`` never means TensorRT,
which builds its engines for minutes at start-up: that must be somebody's wish.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import onnxruntime

from stream_app.bundle.graphs import CPU_PROVIDER, Provider

ProviderChoice = Literal["auto", "cuda", "tensorrt", "cpu"]

CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"

_NAMES: dict[ProviderChoice, str] = {"cuda": CUDA_PROVIDER, "tensorrt": TENSORRT_PROVIDER, "cpu": CPU_PROVIDER}
_CUDA: Provider = (
    CUDA_PROVIDER,
    {
        # A fixed choice of convolution: an exhaustive search may choose another algorithm for every shape and start.
        "cudnn_conv_algo_search": "HEURISTIC",
        # TF32 keeps 10 bits of mantissa; parity with training is promised to about 1e-4.
        "use_tf32": "0",
    },
)
_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-ctrl-gpu")


class ProviderError(RuntimeError):
    """The execution provider that was asked for is not the one that runs, or ONNX Runtime is installed twice."""


def refuse_double_install(installed: Collection[str]) -> None:
    """Refuse two distributions of ONNX Runtime beside each other.

    They share one folder: installing the CPU one after the GPU one removes CUDA, while ``pip check`` is content.

    Args:
        installed: names of installed distributions.

    Raises:
        ProviderError: if more than one of them is an ONNX Runtime.
    """
    found = sorted(name for name in set(installed) if name == "onnxruntime" or name.startswith("onnxruntime-"))
    runtimes = [name for name in found if name not in {"onnxruntime-extensions", "onnxruntime-genai"}]
    if len(runtimes) > 1:
        raise ProviderError(
            f"ONNX Runtime: expected one distribution, found {', '.join(runtimes)}; they overwrite each other: "
            "uninstall all of them, then install onnxruntime-gpu, which runs on the CPU too"
        )


def installed_runtimes() -> list[str]:
    """Return the normalised names of all installed distributions that begin with ``onnxruntime``."""
    names = (distribution.metadata["Name"] or "" for distribution in importlib.metadata.distributions())
    normal = (name.lower().replace("_", "-") for name in names)
    return [name for name in normal if name.startswith("onnxruntime")]


def has_nvidia_device() -> bool:
    """Return whether this machine shows an NVIDIA device; without one, trying CUDA only prints errors."""
    return any(Path(path).exists() for path in _NVIDIA_DEVICES)


def candidates(
    choice: ProviderChoice, *, available: Collection[str], has_device: bool, engine_cache: str
) -> list[Provider]:
    """Return the providers to ask for, best first.

    Args:
        choice: what was asked for.
        available: what this build of ONNX Runtime lists.
        has_device: whether the machine shows an NVIDIA device; looked at for ``auto`` only.
        engine_cache: where TensorRT keeps what it compiled; empty: nowhere.

    Raises:
        ProviderError: if the choice is not in this build.
    """
    if choice == "auto":
        return [_CUDA, CPU_PROVIDER] if has_device and CUDA_PROVIDER in available else [CPU_PROVIDER]
    if _NAMES[choice] not in available:
        raise ProviderError(f"provider {choice}: expected {_NAMES[choice]} in this build, found {sorted(available)}")
    by_choice: dict[str, list[Provider]] = {
        "cpu": [CPU_PROVIDER],
        "cuda": [_CUDA, CPU_PROVIDER],
        "tensorrt": [_tensorrt(engine_cache), _CUDA, CPU_PROVIDER],
    }
    return by_choice[choice]


def _tensorrt(engine_cache: str) -> Provider:
    # Float16 is the bundle's choice (its fp16 variant), never that of the runtime.
    options = {"trt_fp16_enable": "False"}
    if engine_cache:
        options |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": engine_cache}
    return (TENSORRT_PROVIDER, options)


def load_cuda_libraries() -> None:
    """Load CUDA and cuDNN where they were installed as Python packages; it prints, and never raises."""
    with contextlib.redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()


def judge(choice: ProviderChoice, found: str, *, has_device: bool) -> str:
    """Compare the provider in use with the choice.

    Args:
        choice: what was asked for.
        found: the provider of the sessions.
        has_device: whether the machine shows an NVIDIA device.

    Returns:
        A sentence for the log if ``auto`` had to do with less than the machine could give, else an empty string.

    Raises:
        ProviderError: if a provider was asked for by name and another one runs.
    """
    if choice != "auto":
        if found != _NAMES[choice]:
            raise ProviderError(
                f"provider {choice}: expected {_NAMES[choice]}, found {found}; are CUDA or cuDNN libraries missing? "
                "Install onnxruntime-gpu[cuda,cudnn]"
            )
        return ""
    if found == CPU_PROVIDER and has_device:
        return f"an NVIDIA device is here, but ONNX Runtime fell back to {found}: CUDA or cuDNN libraries are missing"
    return ""
