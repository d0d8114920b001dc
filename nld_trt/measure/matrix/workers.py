# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Worker processes on this machine: one a GPU, each of which measures one point after the other."""

from __future__ import annotations

from collections import deque
from threading import Event, Lock, Thread
from typing import Final

from nld_trt.errors import InputError, NldError
from nld_trt.machine.gpu import present_gpus
from nld_trt.measure.matrix.run import Found, Matrix
from nld_trt.progress import SILENT, Progress

_DEVICES: Final = "CUDA_VISIBLE_DEVICES"


def run_workers(
    matrix: Matrix, workers: int | None = None, *, resume: bool = True, progress: Progress = SILENT
) -> Found:
    """Build what is missing, measure every point in a process of its own, and join the results.

    Args:
        workers: points that are measured at once; None means one for each GPU, and one without GPUs. With GPUs each
            worker has its own.

    Raises:
        InputError: there are fewer GPUs than workers, or this machine can run none of the engines.
    """
    gpus = len(present_gpus())
    count = workers or max(1, gpus)
    if gpus and count > gpus:
        raise InputError(f"{count} workers were asked for, and this machine has {gpus} GPUs")
    left_out = matrix.check_machine()
    matrix.prepare()
    unbuilt = matrix.build([engine for engine in matrix.engines if engine.name not in left_out], progress)
    numbers = deque(task.number for task in matrix.tasks if task.unit.engine_name not in {*left_out, *unbuilt})
    total, lock, stop = len(numbers), Lock(), Event()

    def work(gpu: int) -> None:
        variables = {_DEVICES: str(gpu)} if gpus else None
        while not stop.is_set():
            with lock:
                if not numbers:
                    return
                number = numbers.popleft()
            try:
                why = matrix.run_task(number, resume=resume, variables=variables, stop=stop)
            except NldError as error:
                why = str(error)
            with lock:
                label = matrix.tasks[number].label
                if why is None:
                    progress.note(f"measured {label}, {len(numbers)} of {total} points wait")
                else:
                    progress.warn(f"{label} failed: {why}")

    threads = [Thread(target=work, args=(gpu,)) for gpu in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        # Points that are being measured are ended, and no further one is begun.
        stop.set()
        for thread in threads:
            thread.join()
        raise
    return matrix.collect(left_out=left_out, unbuilt=unbuilt)
