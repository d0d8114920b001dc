# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Files and folders: hashes, JSON, checked paths, locks, and outputs that appear complete or not at all."""

from nld_trt.files.disk import check_space, disk_is_full
from nld_trt.files.io import read_json, write_json
from nld_trt.files.output_file import publish_file
from nld_trt.files.paths import HubSnapshot, inside, library_path, opened_path, own_folders, path_of_library, resolved
from nld_trt.files.publish import (
    check_target,
    locked_folder,
    publish_folder,
    refuse_other_results,
    results_folder,
)
from nld_trt.files.records import human_bytes, sha256_of

__all__ = [
    "HubSnapshot",
    "check_space",
    "check_target",
    "disk_is_full",
    "human_bytes",
    "inside",
    "library_path",
    "locked_folder",
    "opened_path",
    "own_folders",
    "path_of_library",
    "publish_file",
    "publish_folder",
    "read_json",
    "refuse_other_results",
    "resolved",
    "results_folder",
    "sha256_of",
    "write_json",
]
