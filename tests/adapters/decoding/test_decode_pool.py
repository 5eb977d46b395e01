"""The decode pool: poison images cost a child, never a neighbour and never the worker."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from stream_app.adapters.decoding.images import DecodeFailure
from stream_app.adapters.decoding.pool import DecodePool, DecodePoolError, DecodeSettings
from stream_app.bundle.image import decode_image
from stream_app.bundle.manifest import ImageSpec
from stream_app.config import Operational, Semantic
from stream_app.wiring.model import decode_settings
from tests.adapters.decoding.decode_doubles import BOMB, DIE, DIE_ONCE, HANG

_SPEC = ImageSpec(height=48, width=64)
_PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 255, (6, 8, 3)).astype(np.uint8), (320, 240))
_JPEG = cv2.imencode(".jpg", _PIXELS)[1].tobytes()
_CUES = "tests.adapters.decoding.decode_doubles:decode_on_cue"


@asynccontextmanager
async def _pool(
    *, decode: str = _CUES, children: int = 1, time_limit_s: float = 30, max_waiting: int = 64
) -> AsyncIterator[DecodePool]:
    settings = DecodeSettings(
        children=children,
        time_limit_s=time_limit_s,
        memory_bytes=256 * 1024 * 1024,
        max_pixels=50_000_000,
        max_waiting=max_waiting,
        decode=decode,
    )
    pool = DecodePool(_SPEC, settings=settings)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


def _is_picture(outcome: object) -> bool:
    return isinstance(outcome, np.ndarray) and np.array_equal(outcome, decode_image(_JPEG, _SPEC))


def _reason(outcome: object) -> str:
    assert isinstance(outcome, DecodeFailure)
    return outcome.reason


def test_images_come_back_as_decoded_here_whatever_the_order_and_number() -> None:
    async def run() -> None:
        async with _pool(children=2, max_waiting=5) as pool:
            png = cv2.imencode(".png", _PIXELS[:100])[1].tobytes()
            outcomes = await asyncio.gather(*(pool.decode(data) for data in [_JPEG, png] * 20))
            for outcome, data in zip(outcomes, [_JPEG, png] * 20, strict=True):
                np.testing.assert_array_equal(outcome, decode_image(data, _SPEC))
            assert pool.stats().decoded == 40
            assert pool.stats().lost_children == 0

    asyncio.run(run())


def test_what_is_no_image_or_too_large_is_named_and_costs_no_child() -> None:
    async def run() -> None:
        async with _pool() as pool:
            (child,) = pool.child_pids
            at = _JPEG.index(b"\xff\xc0") + 5
            huge = _JPEG[:at] + (16_000).to_bytes(2, "big") * 2 + _JPEG[at + 4 :]
            assert _reason(await pool.decode(b"no image")) == "undecodable"
            assert _reason(await pool.decode(huge)) == "too-large"
            assert _reason(await pool.decode(_JPEG[: len(_JPEG) // 2])) == "undecodable"
            assert _is_picture(await pool.decode(_JPEG))
            assert pool.child_pids == (child,)
            assert pool.stats().failures == {"undecodable": 2, "too-large": 1}

    asyncio.run(run())


def test_an_image_that_kills_its_decoder_twice_is_blamed_and_its_neighbours_are_not() -> None:
    async def run() -> None:
        async with _pool() as pool:
            images = [_JPEG, _JPEG, _JPEG + DIE, _JPEG, _JPEG]
            outcomes = await asyncio.gather(*map(pool.decode, images))
            assert _reason(outcomes.pop(2)) == "decode-crash"
            assert all(map(_is_picture, outcomes))
            assert pool.stats().lost_children == 2

    asyncio.run(run())


def test_an_image_whose_decoder_died_once_by_chance_is_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        async with _pool() as pool:
            image = _JPEG + b"\0" + str(tmp_path / "mark").encode() + DIE_ONCE
            assert _is_picture(await pool.decode(image))
            assert pool.stats().lost_children == 1
            assert pool.stats().failures == {}

    asyncio.run(run())


def test_an_image_that_hangs_its_decoder_is_blamed_after_the_time_limit() -> None:
    async def run() -> None:
        async with _pool(time_limit_s=0.5) as pool:
            outcomes = await asyncio.gather(pool.decode(_JPEG + HANG), pool.decode(_JPEG), pool.decode(_JPEG))
            assert _reason(outcomes[0]) == "decode-timeout"
            assert _is_picture(outcomes[1])
            assert _is_picture(outcomes[2])
            assert pool.stats().lost_children == 1

    asyncio.run(run())


def test_a_supervisor_that_signals_every_process_of_a_worker_ends_no_child() -> None:
    async def run() -> None:
        async with _pool() as pool:
            for pid in pool.child_pids:
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGINT)
            for _ in pool.child_pids:
                assert _is_picture(await pool.decode(_JPEG))
            assert pool.stats().lost_children == 0

    asyncio.run(run())


def test_a_stopped_child_is_replaced() -> None:
    async def run() -> None:
        async with _pool(time_limit_s=0.5) as pool:
            (stopped,) = pool.child_pids
            os.kill(stopped, signal.SIGSTOP)
            assert _reason(await pool.decode(_JPEG)) == "decode-timeout"
            assert _is_picture(await pool.decode(_JPEG))
            assert not psutil.pid_exists(stopped)

    asyncio.run(run())


def test_a_child_killed_from_outside_in_mid_work_costs_nobody_an_image() -> None:
    async def run() -> None:
        async with _pool(children=2) as pool:
            work = [asyncio.create_task(pool.decode(_JPEG)) for _ in range(30)]
            await work[3]
            os.kill(pool.child_pids[0], signal.SIGKILL)
            assert all(map(_is_picture, await asyncio.gather(*work)))

    asyncio.run(run())


def test_an_image_that_wants_more_memory_than_allowed_is_too_large() -> None:
    async def run() -> None:
        async with _pool() as pool:
            assert _reason(await pool.decode(_JPEG + BOMB)) == "too-large"
            assert _is_picture(await pool.decode(_JPEG))

    asyncio.run(run())


@pytest.mark.parametrize(("memory_mb", "is_decoded"), [(64, False), (512, True)])
def test_an_honest_bomb_within_the_pixel_limit_is_stopped_by_the_memory_limit(
    memory_mb: int, *, is_decoded: bool
) -> None:
    async def run() -> None:
        # 49 million pixels of one colour: 150 kB as a file, 147 MB as pixels, which cv2 wants in one piece.
        png = cv2.imencode(".png", np.zeros((7000, 7000, 3), dtype=np.uint8))[1].tobytes()
        settings = DecodeSettings(
            children=1, time_limit_s=60, memory_bytes=memory_mb * 1024 * 1024, max_pixels=50_000_000
        )
        pool = DecodePool(_SPEC, settings=settings)
        await pool.start()
        try:
            outcome = await pool.decode(png)
            # cv2 swallows the failed allocation and returns nothing, so the reason may be either.
            assert isinstance(outcome, np.ndarray) if is_decoded else _reason(outcome) in {"too-large", "undecodable"}
            assert _is_picture(await pool.decode(_JPEG))
        finally:
            await pool.close()

    asyncio.run(run())


def test_close_ends_children_that_hang_and_fails_who_waits() -> None:
    async def run() -> None:
        async with _pool() as pool:
            pids = pool.child_pids
            work = [asyncio.create_task(pool.decode(_JPEG + HANG)), asyncio.create_task(pool.decode(_JPEG))]
            await asyncio.sleep(0)
            await pool.close()
            for task in work:
                with pytest.raises(DecodePoolError, match="closed"):
                    await task
            with pytest.raises(DecodePoolError, match="closed"):
                await pool.decode(_JPEG)
            assert not any(map(psutil.pid_exists, pids))

    asyncio.run(run())


def test_a_pool_whose_children_cannot_start_says_so() -> None:
    async def run() -> None:
        with pytest.raises(DecodePoolError, match="did not start"):
            async with _pool(decode="tests.adapters.decoding.decode_doubles:nothing"):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("steps", range(8))
def test_a_start_that_is_cancelled_leaves_no_child_behind(steps: int) -> None:
    async def run() -> None:
        pool = DecodePool(_SPEC, settings=decode_settings(Operational(decode_children=2), Semantic()))
        before = {child.pid for child in psutil.Process().children()}
        start = asyncio.create_task(pool.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert {child.pid for child in psutil.Process().children()} <= before

    asyncio.run(run())


def test_a_cancelled_call_leaves_the_pool_working() -> None:
    async def run() -> None:
        async with _pool(max_waiting=1) as pool:
            for _ in range(3):
                task = asyncio.create_task(pool.decode(_JPEG))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert _is_picture(await pool.decode(_JPEG))

    asyncio.run(run())


def test_children_import_neither_kafka_clients_nor_onnxruntime() -> None:
    async def run() -> None:
        async with _pool(decode="tests.adapters.decoding.decode_doubles:name_modules") as pool:
            failure = await pool.decode(_JPEG)
            assert isinstance(failure, DecodeFailure)
            imported = set(failure.detail.split())
            assert "cv2" in imported
            assert not imported & {"faust", "aiokafka", "onnxruntime", "tokenizers", "asyncio"}

    asyncio.run(run())


def test_children_know_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_SASL_PASSWORD", "hunter2")

    async def run() -> None:
        async with _pool(decode="tests.adapters.decoding.decode_doubles:name_environment") as pool:
            failure = await pool.decode(_JPEG)
            assert failure == DecodeFailure("undecodable", "none")

    asyncio.run(run())


def test_pixels_of_another_size_than_the_models_are_no_answer() -> None:
    async def run() -> None:
        async with _pool(decode="tests.adapters.decoding.decode_doubles:shrink") as pool:
            assert _reason(await pool.decode(_JPEG)) == "decode-crash"
            assert pool.stats().lost_children == 2

    asyncio.run(run())


def test_what_a_child_says_is_bounded() -> None:
    async def run() -> None:
        async with _pool(decode="tests.adapters.decoding.decode_doubles:answer_at_length") as pool:
            failure = await pool.decode(_JPEG)
            assert isinstance(failure, DecodeFailure)
            assert failure.reason == "undecodable"
            assert len(failure.detail) == 2_000

    asyncio.run(run())


_ORPHANS = """
import asyncio, dataclasses, os, signal
from stream_app.adapters.decoding.pool import DecodePool
from stream_app.bundle.manifest import ImageSpec
from stream_app.config import Operational, Semantic
from stream_app.wiring.model import decode_settings
from tests.adapters.decoding.test_decode_pool import _CUES, _JPEG, HANG

async def run():
    settings = dataclasses.replace(decode_settings(Operational(), Semantic()), decode=_CUES)
    pool = DecodePool(ImageSpec(height=8, width=8), settings=settings)
    await pool.start()
    work = asyncio.create_task(pool.decode(_JPEG + HANG))
    await asyncio.sleep(0.05)
    print(*pool.child_pids, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(run())
"""


def test_children_die_with_a_killed_parent_even_in_the_middle_of_an_image() -> None:
    ended = subprocess.run([sys.executable, "-c", _ORPHANS], capture_output=True, check=False, cwd=Path.cwd())
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    orphans = [psutil.Process(int(pid)) for pid in ended.stdout.split() if psutil.pid_exists(int(pid))]
    assert len(ended.stdout.split()) == 2
    _, alive = psutil.wait_procs(orphans, timeout=60)
    # Whoever adopts orphans here may not collect them: a zombie has ended, too.
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
