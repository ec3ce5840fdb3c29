# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python -m fedlearn_mindspore.scheduler --config FILE`: MindSpore Federated's scheduler, until it is told to stop."""

from __future__ import annotations

import importlib

from fedlearn_mindspore import config, forget, runtime


def main() -> None:
    """Serves until stopped. A verify round first forgets what one that was cut off left in Redis."""
    settings = config.from_arguments(config.Scheduler, "MindSpore Federated scheduler")
    if settings.round:
        forget.forget_job(settings.yaml)
    runtime.prepare(settings.flavour)
    federated = importlib.import_module("mindspore_federated.startup.federated_local")
    federated.FlSchedulerJob(settings.yaml, settings.listen, runtime.ssl_config(settings.password)).run()


if __name__ == "__main__":
    main()
