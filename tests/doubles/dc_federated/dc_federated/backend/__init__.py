# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The double's two classes, under the library's names."""

from gevent import monkey

monkey.patch_all()

from .dcf_server import DCFServer
from .dcf_worker import DCFWorker

GLOBAL_MODEL, GLOBAL_MODEL_VERSION = "global_model", "global_model_version"

__all__ = ["DCFServer", "DCFWorker", "GLOBAL_MODEL", "GLOBAL_MODEL_VERSION", "create_model_dict", "is_valid_model_dict"]


def create_model_dict(model, version):
    return {GLOBAL_MODEL: model, GLOBAL_MODEL_VERSION: version}


def is_valid_model_dict(data):
    return isinstance(data, dict) and {GLOBAL_MODEL, GLOBAL_MODEL_VERSION} <= set(data)
